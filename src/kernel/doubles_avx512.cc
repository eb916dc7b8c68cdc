#include <immintrin.h>

#include "kernel/doubles.h"

namespace lowbit::avx512 {
namespace {

using Wide = __m512d;
constexpr int kLanes64 = 8, kPartRows = 8, kPartVectors = 2;
inline Wide set64(double x) { return _mm512_set1_pd(x); }
inline Wide load64(const double* p) { return _mm512_loadu_pd(p); }
inline void store64(double* p, Wide a) { _mm512_storeu_pd(p, a); }
inline Wide fnma64(Wide a, Wide b, Wide c) { return _mm512_fnmadd_pd(a, b, c); }

}  // namespace

#include "kernel/doubles_body.h"

}  // namespace lowbit::avx512
