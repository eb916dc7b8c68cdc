// GPTQ's way through the columns of sixteen rows, whatever their grids.
#pragma once

#include <cstdint>
#include <vector>

#include "quantize/assign/descent_window.h"
#include "quantize/assign/gptq.h"

namespace lowbit {

/// Where the parameters of columns come from.
class GridFinder {
 public:
  virtual ~GridFinder() = default;
  /// Finds those of columns [begin, begin + width), on their weights as earlier columns left them: x[width]. grids[k]
  /// is for the k-th `sub` of them. `begin` counts columns as stored; where groups follow the order of rounding, in
  /// that.
  virtual void find(int64_t begin, int64_t width, const LaneFloats* x, LaneGrid* grids) = 0;
};

class ColumnWalk {
 public:
  /// `sub`: columns on one grid. `unit`: of the problem's ranks, or the format's own where they say none.
  ColumnWalk(const GptqProblem& problem, int64_t unit, int64_t sub);

  /// Rounds strip.target: fills codes, and the errors against the target.
  void run(RoundedStrip& strip, GridFinder& finder);

 private:
  void round(RoundedStrip& strip, int64_t rank, int64_t begin, int64_t width);

  const GptqProblem& problem_;
  const ColumnRanks& ranks_;
  const int64_t cols_, unit_, sub_;
  const bool moved_;                                // columns are rounded in another order than parameters are found in
  std::vector<LaneFloats> x_, as_stored_, errors_;  // in the order of rounding, but as_stored_
  std::vector<LaneGrid> grids_, column_grids_;
  std::vector<LaneBytes> codes_;
};

}  // namespace lowbit
