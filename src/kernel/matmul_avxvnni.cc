#include <immintrin.h>
#include <stdint.h>

#include "kernel/ops.h"

namespace lowbit::avxvnni {

#include "kernel/matmul_avx2_body.h"

}  // namespace lowbit::avxvnni
