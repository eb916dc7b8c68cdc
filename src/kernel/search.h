// The arithmetic of finding block parameters: sixteen sub-blocks side by side, one a lane, so that no sum crosses lanes
// and every instruction set computes the same bits. quantize/search/ says what is searched for and why.
#pragma once

#include <stdint.h>

#include <string_view>
#include <vector>

namespace lowbit {

inline constexpr int kLanes = 16;
inline constexpr int kMaxSubBlock = 32;

/// One number a lane.
struct alignas(64) LaneFloats {
  float lane[kLanes];
};

/// Sixteen sub-blocks of `size` weights, transposed: weight i of lane l is x[i].lane[l]. Magnitudes are at most about
/// 2: the caller scales blocks by powers of two, so that no square overflows.
struct SubBlocks {
  LaneFloats x[kMaxSubBlock];
  LaneFloats weight[kMaxSubBlock];  ///< what a squared error counts, > 0
  int size;
};

/// The numbers that codes stand for: the integers low..high, or 16 ascending values.
struct LevelSet {
  float low, high;
  const float* table;  ///< [16], or nullptr for integers
};

/// Values are scale * level - min.
struct LaneGrid {
  LaneFloats scale, min;
};

/// Where a search starts: each candidate maps a sub-block's extremes to given levels, takes the nearest codes, and then
/// the scale (and minimum) of least weighted squared error for these codes, in closed form.
struct ScaleCandidates {
  const float* targets;  ///< the weight of greatest magnitude is mapped to this level
  int count;
  int rounds;  ///< how often the best is refined: nearest codes again, least squares again
};
struct AffineCandidates {
  const float* lows;   ///< [count] the smallest weight is mapped to this level
  const float* highs;  ///< [count] the greatest to this one
  int count;
  int rounds;
  bool min_positive;  ///< only min >= 0 can be stored: zero is within the range of every sub-block
};

struct SearchKernels {
  std::string_view name;  ///< "ref", "avx2", "avx512"
  /// The scale of least error among the candidates; out.min = 0.
  void (*search_scale)(const SubBlocks& blocks, const LevelSet& levels, const ScaleCandidates& candidates,
                       LaneGrid& out);
  /// The scale > 0 and minimum of least error among the candidates. Integer levels only.
  void (*search_affine)(const SubBlocks& blocks, const LevelSet& levels, const AffineCandidates& candidates,
                        LaneGrid& out);
  /// The weighted squared error of the nearest codes on a grid.
  void (*error)(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, LaneFloats& out);
  /// The nearest codes on a grid: codes[lane * size + i].
  void (*assign)(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, uint8_t* codes);
};

/// The tables that this machine can run, the portable one first, the fastest last.
const std::vector<const SearchKernels*>& all_search_kernels();
/// The fastest, or the one that LOWBIT_ISA names (see kernels()).
const SearchKernels& search_kernels();

#define LOWBIT_DECLARE_SEARCH(isa)                                                                         \
  namespace isa {                                                                                          \
  void search_scale(const SubBlocks& blocks, const LevelSet& levels, const ScaleCandidates& candidates,    \
                    LaneGrid& out);                                                                        \
  void search_affine(const SubBlocks& blocks, const LevelSet& levels, const AffineCandidates& candidates,  \
                     LaneGrid& out);                                                                       \
  void grid_error(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, LaneFloats& out); \
  void grid_assign(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, uint8_t* codes); \
  }
LOWBIT_DECLARE_SEARCH(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_SEARCH(avx2)
LOWBIT_DECLARE_SEARCH(avx512)
#endif
#undef LOWBIT_DECLARE_SEARCH

}  // namespace lowbit
