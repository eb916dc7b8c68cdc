#include "kernel/groups.h"

#include "kernel/kernels.h"

namespace lowbit {

#define LOWBIT_GROUPS(isa) \
  GroupKernels { #isa, isa::round_group, isa::round_to_table, isa::weigh_group, isa::through_gram, isa::add_gram }

const std::vector<const GroupKernels*>& all_group_kernels() {
  static const GroupKernels all[] = {
    LOWBIT_GROUPS(ref),
#if defined(__x86_64__)
    LOWBIT_GROUPS(avx2),
    LOWBIT_GROUPS(avx512),
#elif defined(__aarch64__)
    LOWBIT_GROUPS(neon),
#endif
  };
  static const std::vector<const GroupKernels*> tables = runnable(std::span<const GroupKernels>(all));
  return tables;
}

const GroupKernels& group_kernels() {
  static const GroupKernels& picked = table_like_kernels(all_group_kernels());
  return picked;
}

}  // namespace lowbit
