#include "kernel/groups.h"

#include "kernel/kernels.h"

namespace lowbit {

#define LOWBIT_GROUPS(isa) \
  GroupKernels { #isa, isa::round_group, isa::weigh_group, isa::through_gram, isa::add_gram }

const std::vector<const GroupKernels*>& all_group_kernels() {
  static const std::vector<const GroupKernels*> tables = [] {
    static const GroupKernels ref = LOWBIT_GROUPS(ref);
    std::vector<const GroupKernels*> out{&ref};
#if defined(__x86_64__)
    static const GroupKernels avx2 = LOWBIT_GROUPS(avx2), avx512 = LOWBIT_GROUPS(avx512);
    for (const Kernels* machine : all_kernels()) {
      if (machine->name == "avx2") out.push_back(&avx2);
      if (machine->name == "avx512") out.push_back(&avx512);
    }
#elif defined(__aarch64__)
    static const GroupKernels neon = LOWBIT_GROUPS(neon);
    out.push_back(&neon);
#endif
    return out;
  }();
  return tables;
}

const GroupKernels& group_kernels() {
  static const GroupKernels& picked = table_like_kernels(all_group_kernels());
  return picked;
}

}  // namespace lowbit
