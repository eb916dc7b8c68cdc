// Coordinate descent on a quantized matrix: what GPTQ leaves when it has passed each column once can be bettered,
// because by then the errors of all columns are known.
#pragma once

#include <vector>

#include "quantize/assign/descent_window.h"
#include "quantize/search/batch.h"

namespace lowbit {

/// Sixteen rows (lanes) of a matrix being rounded in blocks.
struct QuantizedStrip : RoundedStrip {
  const Encoding* encoding;
  std::vector<std::array<BlockHeader, kLanes>> headers;  ///< [cols / block]
};

/// One pass over all columns. hessian [cols, cols], symmetric with a positive diagonal: lanes cost error H error^T, and
/// no step raises it.
void descend(QuantizedStrip& strip, const std::vector<float>& hessian);

}  // namespace lowbit
