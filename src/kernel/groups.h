// The arithmetic of finding a group's parameters (quantize/search/group.h): sums in sixteen lanes, the same bits for
// every instruction set.
#pragma once

#include <stdint.h>

#include <string_view>
#include <vector>

namespace lowbit {

/// Integer codes 0..top; code c stands for scale * (c - zero).
struct GroupGrid {
  float scale, zero, top;
};

/// The levels of 4-bit codes in ascending order, each of which stands for scale * level, and the midpoints that part
/// neighbours.
struct GroupTable {
  float levels[16], midpoints[15];
};

/// Over a group: sums of weight * error^2, weight * level * x and weight * level^2.
struct GroupSums {
  double error, lx, ll;
};

struct GroupKernels {
  std::string_view name;  ///< "ref", "avx2", "avx512", "neon"
  /// level[i] = nearest code - zero, error[i] = x[i] - scale * level[i].
  void (*round)(const float* x, int64_t count, const GroupGrid& grid, float* level, float* error);
  /// level[i] = that nearest to x[i] / scale (of two as near the lower), error[i] = x[i] - scale * level[i].
  void (*round_to_table)(const float* x, int64_t count, const GroupTable& table, float scale, float* level,
                         float* error);
  GroupSums (*weigh)(const float* weight, const float* x, const float* level, const float* error, int64_t count);
  /// a G b for a symmetric gram [count, count].
  double (*through)(const float* gram, const float* a, const float* b, int64_t count);
  /// sums[i * count + j] += sum_t x[t * stride + i] * x[t * stride + j], at least for j <= i; each one chain over t.
  void (*add_gram)(const float* x, int64_t tokens, int64_t stride, int64_t count, float* sums);
};

/// The tables that this machine can run, the portable one first, the fastest last.
const std::vector<const GroupKernels*>& all_group_kernels();
/// The fastest, or the one that LOWBIT_ISA names (see kernels()).
const GroupKernels& group_kernels();

#define LOWBIT_DECLARE_GROUPS(isa)                                                                           \
  namespace isa {                                                                                            \
  void round_group(const float* x, int64_t count, const GroupGrid& grid, float* level, float* error);        \
  void round_to_table(const float* x, int64_t count, const GroupTable& table, float scale, float* level,     \
                      float* error);                                                                         \
  GroupSums weigh_group(const float* weight, const float* x, const float* level, const float* e, int64_t n); \
  double through_gram(const float* gram, const float* a, const float* b, int64_t count);                     \
  void add_gram(const float* x, int64_t tokens, int64_t stride, int64_t count, float* sums);                 \
  }
LOWBIT_DECLARE_GROUPS(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_GROUPS(avx2)
LOWBIT_DECLARE_GROUPS(avx512)
#elif defined(__aarch64__)
LOWBIT_DECLARE_GROUPS(neon)
#endif
#undef LOWBIT_DECLARE_GROUPS

}  // namespace lowbit
