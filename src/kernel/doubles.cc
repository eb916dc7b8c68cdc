#include "kernel/doubles.h"

#include "kernel/kernels.h"

namespace lowbit {

const std::vector<const DoubleKernels*>& all_double_kernels() {
  static const std::vector<const DoubleKernels*> tables = [] {
    static const DoubleKernels ref{"ref", ref::subtract_products};
    std::vector<const DoubleKernels*> out{&ref};
#if defined(__x86_64__)
    static const DoubleKernels avx2{"avx2", avx2::subtract_products}, avx512{"avx512", avx512::subtract_products};
    for (const Kernels* machine : all_kernels()) {
      if (machine->name == "avx2") out.push_back(&avx2);
      if (machine->name == "avx512") out.push_back(&avx512);
    }
#elif defined(__aarch64__)
    static const DoubleKernels neon{"neon", neon::subtract_products};
    out.push_back(&neon);
#endif
    return out;
  }();
  return tables;
}

const DoubleKernels& double_kernels() {
  static const DoubleKernels& picked = table_like_kernels(all_double_kernels());
  return picked;
}

}  // namespace lowbit
