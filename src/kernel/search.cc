#include "kernel/search.h"

#include "kernel/kernels.h"

namespace lowbit {
namespace {

#define LOWBIT_TABLE(isa)                                                                                              \
  SearchKernels {                                                                                                      \
#isa, isa::prepare, isa::search_scale, isa::search_affine, isa::measure, isa::improve, isa::fit_unit, isa::assign, \
        isa::take_up, isa::round_columns                                                                               \
  }

}  // namespace

const std::vector<const SearchKernels*>& all_search_kernels() {
  static const SearchKernels all[] = {
    LOWBIT_TABLE(ref),
#if defined(__x86_64__)
    LOWBIT_TABLE(avx2),
    LOWBIT_TABLE(avx512),
#elif defined(__aarch64__)
    LOWBIT_TABLE(neon),
#endif
  };
  static const std::vector<const SearchKernels*> tables = runnable(std::span<const SearchKernels>(all));
  return tables;
}

const SearchKernels& search_kernels() {
  static const SearchKernels& picked = table_like_kernels(all_search_kernels());
  return picked;
}

}  // namespace lowbit
