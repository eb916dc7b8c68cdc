// Linear algebra in binary64, for factoring Hessians: one operation, the same bits for every instruction set.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace lowbit {

inline constexpr int kTileRows = 8, kTileCols64 = 16;

struct DoubleKernels {
  std::string_view name;  ///< "ref", "avx2", "avx512", "neon"
  /// c[i * stride + j] -= sum_k a[k * kTileRows + i] * b[k * kTileCols64 + j] for a tile of c: each element is one
  /// chain of fused multiply-adds, k ascending.
  void (*subtract_products)(const double* a, const double* b, int64_t count, double* c, int64_t stride);
};

/// The tables that this machine can run, the portable one first, the fastest last.
const std::vector<const DoubleKernels*>& all_double_kernels();
/// The fastest, or the one that LOWBIT_ISA names (see kernels()).
const DoubleKernels& double_kernels();

#define LOWBIT_DECLARE_DOUBLES(isa)                                                                   \
  namespace isa {                                                                                     \
  void subtract_products(const double* a, const double* b, int64_t count, double* c, int64_t stride); \
  }
LOWBIT_DECLARE_DOUBLES(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_DOUBLES(avx2)
LOWBIT_DECLARE_DOUBLES(avx512)
#elif defined(__aarch64__)
LOWBIT_DECLARE_DOUBLES(neon)
#endif
#undef LOWBIT_DECLARE_DOUBLES

}  // namespace lowbit
