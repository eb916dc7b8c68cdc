#include <cmath>

#include "kernel/doubles.h"

namespace lowbit::ref {
namespace {

using Wide = double;
constexpr int kLanes64 = 1, kPartRows = 2, kPartVectors = 4;
inline Wide set64(double x) { return x; }
inline Wide load64(const double* p) { return *p; }
inline void store64(double* p, Wide a) { *p = a; }
inline Wide fnma64(Wide a, Wide b, Wide c) { return std::fma(-a, b, c); }

}  // namespace

#include "kernel/doubles_body.h"

}  // namespace lowbit::ref
