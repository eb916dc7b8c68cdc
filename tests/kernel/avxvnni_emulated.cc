// The products of matmul_avxvnni.cc with the same instruction of AVX-512 in place of AVX-VNNI's, so that they are
// tested on machines that have only that one.
#include "kernel/emulated.h"

#include <immintrin.h>
#include <stdint.h>

#include <type_traits>

#include "kernel/unroll.h"

#define LOWBIT_INLINE inline __attribute__((always_inline))
#define LOWBIT_INLINE_LAMBDA __attribute__((always_inline))
#if !defined(__AVXVNNI__)
#define __AVXVNNI__ 1
#define _mm256_dpbusd_avx_epi32 _mm256_dpbusd_epi32
#endif

namespace lowbit::avxvnni_emulated {

// The order matters.
// clang-format off
#include "kernel/codes_avx2.h"
#include "kernel/matmul_codes_body.h"
#include "kernel/matmul_decode_body.h"
#include "kernel/matmul_rows_body.h"
#include "kernel/matmul_families_body.h"
// clang-format on

}  // namespace lowbit::avxvnni_emulated
