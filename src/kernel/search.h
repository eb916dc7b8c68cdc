// The arithmetic of finding block parameters: sixteen sub-blocks side by side, one a lane, so that no sum crosses lanes
// and every instruction set computes the same bits. quantize/search/ says what is searched for and why.
#pragma once

#include <stdint.h>

#include <string_view>
#include <vector>

namespace lowbit {

inline constexpr int kLanes = 16;
inline constexpr int kMaxSubBlock = 32;

struct alignas(64) LaneFloats {
  float lane[kLanes];
};
struct alignas(16) LaneBytes {
  int8_t lane[kLanes];
};

/// Sixteen sub-blocks of `size` weights, transposed: weight i of lane l is x[i].lane[l].
struct SubBlocks {
  LaneFloats x[kMaxSubBlock];
  LaneFloats weight[kMaxSubBlock];  ///< what a squared error counts, > 0; not filled if all count 1
  LaneFloats total, total_x;        ///< sums over a sub-block of weight and weight * x
  int size;
  bool weighted;
};

/// A weight of no importance still counts this much of the most important one's: it should be rounded sensibly.
inline constexpr float kLeastWeight = 1e-6f;
/// Blocks are scaled by 2^-exponent. Below 2^-40 nothing can be told from 0: no format stores a scale under 2^-24.
inline constexpr int kLowestExponent = -40, kHighestExponent = 126;

/// The numbers that codes stand for: the integers low..high, or 16 ascending values.
struct LevelSet {
  float low, high;
  const float* table;  ///< [16], or nullptr for integers
};

/// Values are scale * level - min.
struct LaneGrid {
  LaneFloats scale, min;
};

/// Where a search starts: each candidate maps a sub-block's extremes to given levels and takes the nearest codes; then
/// come the scale (and minimum) of least weighted squared error for these codes, in closed form.
struct ScaleCandidates {
  const float* targets;  ///< [count] the weight of greatest magnitude is mapped to this level
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

/// The integers that scales and minima are chosen from; highest_min = 0: no minima.
struct IntegerRange {
  float lowest_scale, highest_scale, highest_min;
};

/// Lanes whose scale is unit * an integer, and what the nearest codes on that grid make of the sub-block: sums of
/// weight * level, weight * level^2, weight * level * x and weight * error^2.
struct LaneChoice {
  LaneFloats unit, min_unit;
  LaneFloats scale, min;  ///< integers
  LaneFloats l, ll, lx, error;
};

/// Columns of sixteen rows that are rounded one after another, each taking up the errors of those before it
/// (quantize/assign/gptq.h). Column j of the run is x[j]; row j of `lower` holds how it takes up each earlier column of
/// the matrix: x[j] -= sum_i lower[j * stride + i] * errors[i].
struct ColumnRun {
  LaneFloats* x;       ///< [count]; in: as far as the caller brought it; out: what was rounded
  LaneFloats* errors;  ///< [before + count]: what rounding left of each column, from the matrix's first on
  const float* lower;  ///< the row of the run's first column
  int64_t stride;
  int64_t before;  ///< columns before the run
  int count;
};

struct SearchKernels {
  std::string_view name;  ///< "ref", "avx2", "avx512", "neon"
  /// Makes raw sub-blocks ready: x is multiplied by a power of two a block of `per_block` lanes, so that its greatest
  /// magnitude is in [1, 2) and no square overflows; `factor` tells it. Where blocks.weighted, `weight` holds the
  /// importance of each weight and becomes importance * sqrt(evenness * mean of x^2 over the block + x^2), or the
  /// importance alone if evenness < 0, up to a factor; 1 throughout a block without any importance. Fills the totals.
  void (*prepare)(SubBlocks& blocks, int per_block, float evenness, LaneFloats& factor);
  /// The scale of least error among the candidates; out.min = 0.
  void (*search_scale)(const SubBlocks& blocks, const LevelSet& levels, const ScaleCandidates& candidates,
                       LaneGrid& out);
  /// The scale > 0 and minimum of least error among the candidates. Integer levels only.
  void (*search_affine)(const SubBlocks& blocks, const LevelSet& levels, const AffineCandidates& candidates,
                        LaneGrid& out);
  /// Fills the sums of a choice.
  void (*measure)(const SubBlocks& blocks, const LevelSet& levels, LaneChoice& choice);
  /// Tries the neighbouring integers of each lane's scale, with the minimum that suits each, and takes what lowers the
  /// error. The sums must be filled, and stay so.
  void (*improve)(const SubBlocks& blocks, const LevelSet& levels, const IntegerRange& range, LaneChoice& choice);
  /// The unit u that lets integers k in [low, high] come closest to count <= 16 values: least
  /// sum(weight (value - u k)^2), where k is nearest to value / greatest value * target, for the best of 16 * rounds
  /// targets.
  float (*fit_unit)(const float* values, const float* weights, int count, float low, float high, const float* targets,
                    int rounds);
  /// The nearest levels on a grid: codes[i].lane[l] is the level itself, or the code where levels come from a table.
  void (*assign)(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, LaneBytes* codes);
  /// Takes the errors of all columns before a run up into it.
  void (*take_up)(const ColumnRun& run);
  /// Rounds the columns of a run, which took up all errors before it: column j on grids[j / width]. codes as in assign.
  void (*round_columns)(const ColumnRun& run, const LevelSet& levels, const LaneGrid* grids, int width,
                        LaneBytes* codes);
};

/// The tables that this machine can run, the portable one first, the fastest last.
const std::vector<const SearchKernels*>& all_search_kernels();
/// The fastest, or the one that LOWBIT_ISA names (see kernels()).
const SearchKernels& search_kernels();

#define LOWBIT_DECLARE_SEARCH(isa)                                                                                  \
  namespace isa {                                                                                                   \
  void prepare(SubBlocks& blocks, int per_block, float evenness, LaneFloats& factor);                               \
  void search_scale(const SubBlocks& blocks, const LevelSet& levels, const ScaleCandidates& c, LaneGrid& out);      \
  void search_affine(const SubBlocks& blocks, const LevelSet& levels, const AffineCandidates& c, LaneGrid& out);    \
  void measure(const SubBlocks& blocks, const LevelSet& levels, LaneChoice& choice);                                \
  void improve(const SubBlocks& blocks, const LevelSet& levels, const IntegerRange& range, LaneChoice& choice);     \
  float fit_unit(const float* values, const float* weights, int count, float low, float high, const float* targets, \
                 int rounds);                                                                                       \
  void assign(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, LaneBytes* codes);             \
  void take_up(const ColumnRun& run);                                                                               \
  void round_columns(const ColumnRun& run, const LevelSet& levels, const LaneGrid* grids, int width,                \
                     LaneBytes* codes);                                                                             \
  }
LOWBIT_DECLARE_SEARCH(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_SEARCH(avx2)
LOWBIT_DECLARE_SEARCH(avx512)
#elif defined(__aarch64__)
LOWBIT_DECLARE_SEARCH(neon)
#endif
#undef LOWBIT_DECLARE_SEARCH

}  // namespace lowbit
