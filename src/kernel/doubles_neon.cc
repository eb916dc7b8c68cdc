#include <arm_neon.h>

#include "kernel/doubles.h"

namespace lowbit::neon {
namespace {

using Wide = float64x2_t;
constexpr int kLanes64 = 2, kPartRows = 4, kPartVectors = 4;
inline Wide set64(double x) { return vdupq_n_f64(x); }
inline Wide load64(const double* p) { return vld1q_f64(p); }
inline void store64(double* p, Wide a) { vst1q_f64(p, a); }
inline Wide fnma64(Wide a, Wide b, Wide c) { return vfmsq_f64(c, a, b); }

}  // namespace

#include "kernel/doubles_body.h"

}  // namespace lowbit::neon
