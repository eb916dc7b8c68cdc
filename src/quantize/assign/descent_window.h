// What coordinate descent does to any grid: a window of columns that share a scale, in sixteen rows (lanes).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernel/search.h"

namespace lowbit {

/// Sixteen rows being rounded, whatever their grids.
struct RoundedStrip {
  const LevelSet* levels;
  std::vector<LaneFloats> target;  ///< [cols]: what the rows should be
  std::vector<LaneFloats> error;   ///< [cols]: target - decoded value
  std::vector<LaneBytes> codes;    ///< [cols]: levels, or codes where they come from a table
};

/// What moves of a window gain: its values move by s * level - m.
struct WindowCost {
  float ll, l1, ones, lp, p1;  ///< l H l, l H 1, 1 H 1, l pull, 1 pull
  float gain(float s, float m) const { return 2 * (s * lp - m * p1) - (s * s * ll - 2 * s * m * l1 + m * m * ones); }
};

/// Values are scale * level - min. hessian [cols, cols], symmetric with a positive diagonal: lanes cost
/// error H error^T.
class DescentWindow {
 public:
  DescentWindow(RoundedStrip& strip, const std::vector<float>& hessian, int64_t widest);

  /// Moves to these columns, which are on one grid.
  void load(std::span<const int32_t> columns, const LaneFloats& scale, const LaneFloats& min);
  /// One a lane.
  void costs(WindowCost* out) const;
  /// Changes the grids, and with them all values.
  void move_grid(const LaneFloats& scale, const LaneFloats& min);
  /// Each code in turn takes the value that costs least while all else stays.
  void improve_codes();

  const LaneFloats& scale() const { return scale_; }
  const LaneFloats& min() const { return min_; }

 private:
  float level(int8_t code) const;
  int8_t nearest_code(float place) const;
  const float* row(int64_t j) const { return h_ + columns_[static_cast<size_t>(j)] * cols_; }
  size_t column(int64_t j) const { return static_cast<size_t>(columns_[static_cast<size_t>(j)]); }

  RoundedStrip& s_;
  const float* h_;
  const int64_t cols_;
  std::vector<int32_t> columns_;
  int64_t width_ = 0;
  std::vector<LaneFloats> pull_, level_, moved_;  // pull: half the negative gradient of the cost
  LaneFloats scale_{}, min_{};
};

}  // namespace lowbit
