#include "kernel/doubles.h"

#include "kernel/kernels.h"

namespace lowbit {

const std::vector<const DoubleKernels*>& all_double_kernels() {
  static const DoubleKernels all[] = {
    {"ref", ref::subtract_products},
#if defined(__x86_64__)
    {"avx2", avx2::subtract_products},
    {"avx512", avx512::subtract_products},
#elif defined(__aarch64__)
    {"neon", neon::subtract_products},
#endif
  };
  static const std::vector<const DoubleKernels*> tables = runnable(std::span<const DoubleKernels>(all));
  return tables;
}

const DoubleKernels& double_kernels() {
  static const DoubleKernels& picked = table_like_kernels(all_double_kernels());
  return picked;
}

}  // namespace lowbit
