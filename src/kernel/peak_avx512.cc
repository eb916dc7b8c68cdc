#include <immintrin.h>
#include <stdint.h>

#include "kernel/layout.h"
#include "kernel/peak.h"

#define LOWBIT_INLINE inline __attribute__((always_inline, unused))

namespace lowbit::avx512 {

// The order matters.
// clang-format off
#include "kernel/codes_avx512.h"
#include "kernel/peak_body.h"
// clang-format on

}  // namespace lowbit::avx512
