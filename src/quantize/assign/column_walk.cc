#include "quantize/assign/column_walk.h"

#include <algorithm>

namespace lowbit {
namespace {

constexpr int64_t kRun = 256;  // columns rounded one by one; longer units take errors up in between, many at once

}  // namespace

ColumnWalk::ColumnWalk(const GptqProblem& problem, int64_t unit, int64_t sub)
    : problem_(problem),
      ranks_(problem.ranks),
      cols_(problem.spread.cols),
      unit_(ranks_.unit > 0 ? ranks_.unit : unit),
      sub_(sub),
      moved_(!ranks_.columns.empty() && !ranks_.groups_follow),
      x_(static_cast<size_t>(unit_)),
      as_stored_(moved_ ? x_.size() : 0),
      errors_(static_cast<size_t>(cols_)),
      grids_(static_cast<size_t>((unit_ + sub - 1) / sub)),
      column_grids_(moved_ ? x_.size() : 0),
      codes_(x_.size()) {}

void ColumnWalk::run(RoundedStrip& strip, GridFinder& finder) {
  for (int64_t rank = 0; rank < cols_;) {
    const int64_t begin = moved_ ? ranks_.at(rank) / unit_ * unit_ : rank, width = std::min(unit_, cols_ - begin);
    for (int64_t j = 0; j < width; ++j) x_[j] = strip.target[static_cast<size_t>(ranks_.at(rank + j))];
    search_kernels().take_up({x_.data(), errors_.data(), problem_.spread.values.data() + rank * cols_, cols_, rank,
                              static_cast<int>(width)});
    if (moved_) {
      for (int64_t j = 0; j < width; ++j) as_stored_[ranks_.at(rank + j) - begin] = x_[j];
    }
    finder.find(begin, width, moved_ ? as_stored_.data() : x_.data(), grids_.data());
    round(strip, rank, begin, width);
    rank += width;
  }
}

void ColumnWalk::round(RoundedStrip& strip, int64_t rank, int64_t begin, int64_t width) {
  if (moved_) {
    for (int64_t j = 0; j < width; ++j) column_grids_[j] = grids_[(ranks_.at(rank + j) - begin) / sub_];
  }
  const LaneGrid* grids = moved_ ? column_grids_.data() : grids_.data();
  const int64_t on_one = moved_ ? 1 : sub_;
  for (int64_t at = 0, count = 0; at < width; at += count) {
    count = on_one <= kRun ? kRun / on_one * on_one : std::min(kRun, on_one - at % on_one);
    count = std::min(count, width - at);
    const ColumnRun columns{x_.data() + at,
                            errors_.data() + rank,
                            problem_.spread.values.data() + (rank + at) * cols_ + rank,
                            cols_,
                            at,
                            static_cast<int>(count)};
    if (at > 0) search_kernels().take_up(columns);
    search_kernels().round_columns(columns, *strip.levels, grids + at / on_one, static_cast<int>(on_one),
                                   codes_.data() + at);
  }
  // GPTQ's errors are of what each column had become; those of the strip are of what it should be.
  for (int64_t j = 0; j < width; ++j) {
    const auto c = static_cast<size_t>(ranks_.at(rank + j));
    strip.codes[c] = codes_[j];
    for (int l = 0; l < kLanes; ++l) {
      const float value = x_[j].lane[l] - errors_[rank + j].lane[l];
      strip.error[c].lane[l] = strip.target[c].lane[l] - value;
    }
  }
}

}  // namespace lowbit
