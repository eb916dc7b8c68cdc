#include <immintrin.h>
#include <stdint.h>

#include "kernel/ops.h"

namespace lowbit::avx2 {

#include "kernel/matmul_avx2_body.h"

}  // namespace lowbit::avx2
