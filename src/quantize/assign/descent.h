// Coordinate descent on a quantized matrix: what GPTQ leaves when it has passed each column once can be bettered,
// because by then the errors of all columns are known.
#pragma once

#include <vector>

#include "quantize/search/batch.h"

namespace lowbit {

/// Sixteen rows (lanes) of a matrix being rounded.
struct QuantizedStrip {
  const Encoding* encoding;
  const LevelSet* levels;
  std::vector<LaneFloats> target;                        ///< [cols]: what the rows should be
  std::vector<LaneFloats> error;                         ///< [cols]: target - decoded value
  std::vector<LaneBytes> codes;                          ///< [cols]: levels, or codes where they come from a table
  std::vector<std::array<BlockHeader, kLanes>> headers;  ///< [cols / block]
};

/// One pass over all columns. hessian [cols, cols], symmetric with a positive diagonal: lanes cost error H error^T, and
/// no step raises it.
void descend(QuantizedStrip& strip, const std::vector<float>& hessian);

}  // namespace lowbit
