#include "quantize/assign/gptq_groups.h"

#include <algorithm>

#include "quantize/assign/column_walk.h"
#include "quantize/assign/descent_window.h"

namespace lowbit {
namespace {

/// Whether parameters must be known before the first column.
bool needs_parameters_first(const GroupFormat& f) { return f.doubly_quantized || f.span == GroupSpan::Tensor; }

/// Sixteen rows, one a lane, rounded group after group. Where groups follow the order of rounding, columns are counted
/// in it.
class Strip final : public GridFinder {
 public:
  Strip(GroupMatrix& out, GroupSearch search, const GptqProblem& problem)
      : out_(out),
        search_(search),
        problem_(problem),
        size_(group_columns(out.format, out.cols)),
        shift_(out.format.bits == 8 ? 128 : 0),
        walk_(problem, size_, size_) {
    const auto cols = static_cast<size_t>(out.cols);
    strip_.levels = &levels_;
    strip_.target.resize(cols);
    strip_.error.resize(cols);
    strip_.codes.resize(cols);
    const bool table = out.format.levels != GroupLevels::Integer;
    levels_ = {static_cast<float>(-shift_), static_cast<float>(out.format.codes() - 1 - shift_),
               table ? group_levels(out.format).data() : nullptr};
  }

  void run(const float* weights, int64_t first, int count) {
    first_ = first;
    count_ = count;
    const int64_t cols = out_.cols;
    for (int64_t c = 0; c < cols; ++c) {
      LaneFloats& x = strip_.target[static_cast<size_t>(c)];
      for (int l = 0; l < kLanes; ++l) x.lane[l] = l < count ? weights[l * cols + c] : 0;
    }
    walk_.run(strip_, *this);
    if (problem_.sweeps > 0) descend();
    for (int l = 0; l < count; ++l) {
      uint8_t* to = out_.codes.data() + (first + l) * cols;
      for (int64_t c = 0; c < cols; ++c) {
        to[c] = static_cast<uint8_t>(strip_.codes[static_cast<size_t>(c)].lane[l] + shift_);
      }
    }
  }

  void find(int64_t begin, int64_t width, const LaneFloats* x, LaneGrid* grids) override {
    for (int64_t at = 0; at < width; at += size_, ++grids) {
      if (!needs_parameters_first(out_.format)) search_parameters(begin + at, std::min(size_, width - at), x + at);
      *grids = grid_of(begin + at);
    }
  }

 private:
  void search_parameters(int64_t begin, int64_t width, const LaneFloats* x) {
    std::vector<float> row(static_cast<size_t>(width)), importance;
    for (int64_t j = 0; j < width; ++j) importance.push_back(problem_.importance[column(begin + j)]);
    for (int l = 0; l < count_; ++l) {
      for (int64_t j = 0; j < width; ++j) row[static_cast<size_t>(j)] = x[j].lane[l];
      const GroupParameters p = search_group(out_.format, search_, row.data(), importance.data(), width);
      const auto group = static_cast<size_t>(out_.group_index(first_ + l, begin));
      out_.scales[group] = p.scale;
      if (!out_.zeros.empty()) out_.zeros[group] = p.zero;
    }
  }

  /// The stored column.
  size_t column(int64_t c) const {
    return static_cast<size_t>(problem_.ranks.groups_follow ? problem_.ranks.at(c) : c);
  }

  LaneGrid grid_of(int64_t begin) const {
    LaneGrid grid{};
    for (int l = 0; l < count_; ++l) {
      const int64_t group = out_.group_index(first_ + l, begin);
      grid.scale.lane[l] = out_.scales[static_cast<size_t>(group)];
      grid.min.lane[l] = grid.scale.lane[l] * (out_.zero_at(group) - static_cast<float>(shift_));
    }
    return grid;
  }

  /// Scales that a group has for itself, then codes, take the values that cost least; zeros stay.
  void descend() {
    DescentWindow window(strip_, problem_.hessian, size_);
    std::vector<int32_t> columns;
    for (int sweep = 0; sweep < problem_.sweeps; ++sweep) {
      for (int64_t begin = 0; begin < out_.cols; begin += size_) {
        columns.clear();
        for (int64_t c = begin; c < std::min(begin + size_, out_.cols); ++c) {
          columns.push_back(static_cast<int32_t>(column(c)));
        }
        LaneGrid grid = grid_of(begin);
        window.load(columns, grid.scale, grid.min);
        if (!needs_parameters_first(out_.format)) {
          improve_scales(window, grid, begin);
          window.move_grid(grid.scale, grid.min);
        }
        window.improve_codes();
      }
    }
  }

  void improve_scales(const DescentWindow& window, LaneGrid& grid, int64_t begin) {
    WindowCost costs[kLanes];
    window.costs(costs);
    for (int l = 0; l < count_; ++l) {
      const WindowCost& q = costs[l];
      const int64_t group = out_.group_index(first_ + l, begin);
      // With the zero z as it is, values are s (level - z): a change of s by d gains 2 d a - d^2 b.
      const float z = out_.zero_at(group) - static_cast<float>(shift_);
      const float a = q.lp - z * q.p1, b = q.ll - 2 * z * q.l1 + z * z * q.ones;
      float& scale = grid.scale.lane[l];
      if (!(b > 0)) continue;
      const float wanted = snap_number(out_.format, scale + a / b), change = wanted - scale;
      if (!(wanted > 0) || !(2 * change * a - change * change * b > 0)) continue;
      out_.scales[static_cast<size_t>(group)] = scale = wanted;
      grid.min.lane[l] = wanted * z;
    }
  }

  GroupMatrix& out_;
  const GroupSearch search_;
  const GptqProblem& problem_;
  const int64_t size_;
  const int shift_;  // codes of 8 bits are handled as signed bytes
  ColumnWalk walk_;
  int64_t first_ = 0;  // row of the first lane
  int count_ = 0;      // rows that there are
  LevelSet levels_;
  RoundedStrip strip_;
};

}  // namespace

int64_t group_columns(const GroupFormat& f, int64_t cols) {
  return f.span == GroupSpan::Tensor || f.group == 0 ? cols : std::min(f.group, cols);
}

bool has_gptq_grid(const GroupFormat& format, int64_t cols) {
  if (format.levels == GroupLevels::FP4 || format.span == GroupSpan::Strided) return false;
  return format.span != GroupSpan::Flat || cols % group_columns(format, cols) == 0;
}

GroupMatrix quantize_groups_gptq(const GroupFormat& format, GroupSearch search, const float* weights, int64_t rows,
                                 const GptqProblem& problem, ThreadPool& pool) {
  const int64_t cols = problem.spread.cols;
  GroupMatrix out;
  if (needs_parameters_first(format)) {
    out = quantize_groups(format, search, weights, rows, cols, problem.importance.data(), pool);
  } else {
    out.format = format;
    out.rows = rows;
    out.cols = cols;
    out.resize();
  }
  pool.run((rows + kLanes - 1) / kLanes, [&](int64_t task, int) {
    const int64_t first = task * kLanes;
    Strip strip(out, search, problem);
    strip.run(weights + first * cols, first, static_cast<int>(std::min<int64_t>(kLanes, rows - first)));
  });
  if (problem.ranks.groups_follow) {
    out.group_of_column.resize(static_cast<size_t>(cols));
    for (int64_t rank = 0; rank < cols; ++rank) {
      out.group_of_column[static_cast<size_t>(problem.ranks.at(rank))] =
          static_cast<int32_t>(rank / group_columns(format, cols));
    }
  }
  return out;
}

}  // namespace lowbit
