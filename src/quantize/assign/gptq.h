// GPTQ (Frantar et al., arXiv 2210.17323): each column is rounded to the nearest code, and the columns after it take up
// its error in the way that disturbs the product with calibration inputs least. On the grid of any block encoding,
// whose parameters are searched anew on what earlier columns left (or, in a static order, before any is rounded).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "encoding/encoding.h"
#include "quantize/assign/column_order.h"
#include "quantize/layerwise/linalg.h"
#include "quantize/search/group.h"

namespace lowbit {

/// What one set of inputs asks of a rounding.
struct GptqProblem {
  ErrorSpread spread;             ///< of columns in the order of `ranks`
  std::vector<float> hessian;     ///< [cols, cols], damped: errors e cost e H e^T; as stored
  std::vector<float> importance;  ///< [cols] >= 0: weighs errors where block parameters are searched; H's diagonal
  /// Passes of coordinate descent afterwards: each sub-block's scale and minimum, then each code, in turn take the
  /// value that costs least while all else stays.
  int sweeps = 0;
  ColumnRanks ranks{};
  GroupGrams grams{};    ///< for nearest codes whose ranges are chosen by the output; empty: by `importance`
  float input_peak = 0;  ///< the greatest magnitude among the inputs, where LayerwiseOptions::input_peaks asks for it
};

/// Encodes `rows` rows of spread.cols weights (a multiple of the block), row-major, to rows * encoding.bytes(cols)
/// bytes. problem.ranks.groups_follow must not be set: blocks are as they are stored. Pure, and the same bytes on every
/// machine; rows may be encoded in any split.
void encode_rows_gptq(const Encoding& encoding, const float* weights, int64_t rows, const GptqProblem& problem,
                      std::byte* out);

}  // namespace lowbit
