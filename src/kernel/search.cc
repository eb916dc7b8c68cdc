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
  static const std::vector<const SearchKernels*> tables = [] {
    static const SearchKernels ref = LOWBIT_TABLE(ref);
    std::vector<const SearchKernels*> out{&ref};
#if defined(__x86_64__)
    static const SearchKernels avx2 = LOWBIT_TABLE(avx2), avx512 = LOWBIT_TABLE(avx512);
    for (const Kernels* machine : all_kernels()) {
      if (machine->name == "avx2") out.push_back(&avx2);
      if (machine->name == "avx512") out.push_back(&avx512);
    }
#elif defined(__aarch64__)
    static const SearchKernels neon = LOWBIT_TABLE(neon);
    out.push_back(&neon);
#endif
    return out;
  }();
  return tables;
}

const SearchKernels& search_kernels() {
  static const SearchKernels& picked = table_like_kernels(all_search_kernels());
  return picked;
}

}  // namespace lowbit
