#include "quantize/assign/gptq_groups.h"

#include <algorithm>

#include "kernel/search.h"
#include "quantize/assign/descent_window.h"

namespace lowbit {
namespace {

int64_t group_size(const GroupFormat& f, int64_t cols) {
  return f.span == GroupSpan::Tensor || f.group == 0 ? cols : std::min(f.group, cols);
}

/// Whether parameters must be known before the first column.
bool needs_parameters_first(const GroupFormat& f) { return f.doubly_quantized || f.span == GroupSpan::Tensor; }

/// Sixteen rows, one a lane, rounded group after group.
class Strip {
 public:
  Strip(GroupMatrix& out, GroupSearch search, const GptqProblem& problem)
      : out_(out),
        search_(search),
        problem_(problem),
        size_(group_size(out.format, out.cols)),
        shift_(out.format.bits == 8 ? 128 : 0),
        errors_(static_cast<size_t>(out.cols)),
        x_(static_cast<size_t>(size_)) {
    strip_.levels = &levels_;
    strip_.target.resize(errors_.size());
    strip_.error.resize(errors_.size());
    strip_.codes.resize(errors_.size());
    const bool table = out.format.levels != GroupLevels::Integer;
    levels_ = {static_cast<float>(-shift_), static_cast<float>(out.format.codes() - 1 - shift_),
               table ? group_levels(out.format).data() : nullptr};
  }

  void run(const float* weights, int64_t first, int count) {
    const int64_t cols = out_.cols;
    for (int64_t c = 0; c < cols; ++c) {
      LaneFloats& x = strip_.target[static_cast<size_t>(c)];
      for (int l = 0; l < kLanes; ++l) x.lane[l] = l < count ? weights[l * cols + c] : 0;
    }
    for (int64_t begin = 0; begin < cols; begin += size_) {
      round_group(begin, static_cast<int>(std::min(size_, cols - begin)), first, count);
    }
    if (problem_.sweeps > 0) descend(first, count);
    for (int l = 0; l < count; ++l) {
      uint8_t* to = out_.codes.data() + (first + l) * cols;
      for (int64_t c = 0; c < cols; ++c) {
        to[c] = static_cast<uint8_t>(strip_.codes[static_cast<size_t>(c)].lane[l] + shift_);
      }
    }
  }

 private:
  void round_group(int64_t begin, int width, int64_t first, int count) {
    std::copy_n(strip_.target.begin() + begin, width, x_.begin());
    const int64_t cols = out_.cols;
    const ColumnRun columns{x_.data(), errors_.data(), problem_.spread.values.data() + begin * cols,
                            cols,      begin,          width};
    search_kernels().take_up(columns);
    if (!needs_parameters_first(out_.format)) search_parameters(begin, width, first, count);
    LaneGrid grid = grid_of(begin, first, count);
    search_kernels().round_columns(columns, levels_, &grid, width, strip_.codes.data() + begin);
    // GPTQ's errors are of what each column had become; these are of what it should be.
    for (int j = 0; j < width; ++j) {
      const auto c = static_cast<size_t>(begin + j);
      for (int l = 0; l < kLanes; ++l) {
        const float value = x_[static_cast<size_t>(j)].lane[l] - errors_[c].lane[l];
        strip_.error[c].lane[l] = strip_.target[c].lane[l] - value;
      }
    }
  }

  void search_parameters(int64_t begin, int width, int64_t first, int count) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int l = 0; l < count; ++l) {
      for (int j = 0; j < width; ++j) row[static_cast<size_t>(j)] = x_[static_cast<size_t>(j)].lane[l];
      const GroupParameters p =
          search_group(out_.format, search_, row.data(), problem_.importance.data() + begin, width);
      const auto group = static_cast<size_t>(out_.group_index(first + l, begin));
      out_.scales[group] = p.scale;
      if (!out_.zeros.empty()) out_.zeros[group] = p.zero;
    }
  }

  LaneGrid grid_of(int64_t begin, int64_t first, int count) const {
    LaneGrid grid{};
    for (int l = 0; l < count; ++l) {
      const int64_t group = out_.group_index(first + l, begin);
      grid.scale.lane[l] = out_.scales[static_cast<size_t>(group)];
      grid.min.lane[l] = grid.scale.lane[l] * (out_.zero_at(group) - static_cast<float>(shift_));
    }
    return grid;
  }

  /// Scales that a group has for itself, then codes, take the values that cost least; zeros stay.
  void descend(int64_t first, int count) {
    DescentWindow window(strip_, problem_.hessian, size_);
    for (int sweep = 0; sweep < problem_.sweeps; ++sweep) {
      for (int64_t begin = 0; begin < out_.cols; begin += size_) {
        LaneGrid grid = grid_of(begin, first, count);
        window.load(begin, std::min(size_, out_.cols - begin), grid.scale, grid.min);
        if (!needs_parameters_first(out_.format)) {
          improve_scales(window, grid, begin, first, count);
          window.move_grid(grid.scale, grid.min);
        }
        window.improve_codes();
      }
    }
  }

  void improve_scales(const DescentWindow& window, LaneGrid& grid, int64_t begin, int64_t first, int count) {
    WindowCost costs[kLanes];
    window.costs(costs);
    for (int l = 0; l < count; ++l) {
      const WindowCost& q = costs[l];
      const int64_t group = out_.group_index(first + l, begin);
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
  LevelSet levels_;
  std::vector<LaneFloats> errors_, x_;
  RoundedStrip strip_;
};

}  // namespace

bool has_gptq_grid(const GroupFormat& format, int64_t cols) {
  if (format.levels == GroupLevels::FP4 || format.span == GroupSpan::Strided) return false;
  return format.span != GroupSpan::Flat || cols % group_size(format, cols) == 0;
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
  return out;
}

}  // namespace lowbit
