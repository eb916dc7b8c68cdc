#include <immintrin.h>

#include "kernel/doubles.h"

namespace lowbit::avx2 {
namespace {

using Wide = __m256d;
constexpr int kLanes64 = 4, kPartRows = 4, kPartVectors = 2;
inline Wide set64(double x) { return _mm256_set1_pd(x); }
inline Wide load64(const double* p) { return _mm256_loadu_pd(p); }
inline void store64(double* p, Wide a) { _mm256_storeu_pd(p, a); }
inline Wide fnma64(Wide a, Wide b, Wide c) { return _mm256_fnmadd_pd(a, b, c); }

}  // namespace

#include "kernel/doubles_body.h"

}  // namespace lowbit::avx2
