#include "kernel/peak.h"

#include "kernel/kernels.h"

namespace lowbit {

const Peaks& peaks() {
  static const Peaks tables[] = {
#if defined(__x86_64__)
    {"avx2", avx2::peak_codes, avx2::peak_floats, nullptr},
    {"avxvnni", avxvnni::peak_codes, avxvnni::peak_floats, nullptr},
    {"avx512", avx512::peak_codes, avx512::peak_floats, nullptr},
    {"amx", amx::peak_codes, avx512::peak_floats, nullptr},
    {"zen4", avx512::peak_codes, avx512::peak_floats, zen4::peak_bf16},
#endif
    {"ref", ref::peak_codes, ref::peak_floats, nullptr},
  };
  static constexpr Peaks kUnknown{"", nullptr, nullptr, nullptr};
  for (const Peaks& table : tables) {
    if (table.name == kernels().name) return table;
  }
  return kUnknown;
}

}  // namespace lowbit
