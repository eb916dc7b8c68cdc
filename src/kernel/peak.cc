#include "kernel/peak.h"

#include "kernel/kernels.h"

namespace lowbit {

const Peaks& peaks() {
  static const Peaks tables[] = {
#if defined(__x86_64__)
    {"avx2", avx2::peak_codes, avx2::peak_floats},
    {"avxvnni", avxvnni::peak_codes, avxvnni::peak_floats},
    {"avx512", avx512::peak_codes, avx512::peak_floats},
    {"amx", amx::peak_codes, avx512::peak_floats},
    {"zen4", avx512::peak_codes, avx512::peak_floats},
#endif
    {"ref", ref::peak_codes, ref::peak_floats},
  };
  static constexpr Peaks kUnknown{"", nullptr, nullptr};
  for (const Peaks& table : tables) {
    if (table.name == kernels().name) return table;
  }
  return kUnknown;
}

}  // namespace lowbit
