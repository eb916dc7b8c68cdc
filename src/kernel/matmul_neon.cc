// Products with coded weights for NEON: see matmul_codes_body.h.
#include <arm_neon.h>
#include <stdint.h>

#include <type_traits>

#include "kernel/ops.h"
#include "kernel/unroll.h"

// What the compiler must see in one piece to keep its arrays in registers.
#define LOWBIT_INLINE inline __attribute__((always_inline))
#define LOWBIT_INLINE_LAMBDA __attribute__((always_inline))

namespace lowbit::neon {

// The order matters.
// clang-format off
#include "kernel/codes_neon.h"
#include "kernel/matmul_codes_body.h"
#include "kernel/matmul_decode_body.h"
#include "kernel/matmul_rows_body.h"
#include "kernel/matmul_families_body.h"
// clang-format on

}  // namespace lowbit::neon
