#include "kernel/peak.h"

#include <iterator>

#include "kernel/kernels.h"

namespace lowbit {

const Peaks& peaks() {
  static const Peaks tables[] = {
#if defined(__x86_64__)
    {"avx2", avx2::peak_codes, avx2::peak_floats},
    {"avxvnni", avxvnni::peak_codes, avxvnni::peak_floats},
    {"avx512", avx512::peak_codes, avx512::peak_floats},
#endif
    {"ref", ref::peak_codes, ref::peak_floats},
  };
  const Peaks* table = tables;
  while (table->name != kernels().name && table != std::end(tables) - 1) ++table;
  return *table;
}

}  // namespace lowbit
