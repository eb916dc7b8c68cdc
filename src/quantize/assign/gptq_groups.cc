#include "quantize/assign/gptq_groups.h"

#include <algorithm>

#include "kernel/search.h"

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
        x_(static_cast<size_t>(size_)),
        codes_(x_.size()) {
    const bool table = out.format.levels != GroupLevels::Integer;
    levels_ = {static_cast<float>(-shift_), static_cast<float>(out.format.codes() - 1 - shift_),
               table ? group_levels(out.format).data() : nullptr};
  }

  void run(const float* weights, int64_t first, int count) {
    const int64_t cols = out_.cols;
    std::vector<float> row(x_.size());
    for (int64_t begin = 0; begin < cols; begin += size_) {
      const int width = static_cast<int>(std::min(size_, cols - begin));
      for (int j = 0; j < width; ++j) {
        for (int l = 0; l < kLanes; ++l)
          x_[static_cast<size_t>(j)].lane[l] = l < count ? weights[l * cols + begin + j] : 0;
      }
      const ColumnRun columns{x_.data(), errors_.data(), problem_.spread.lower.data() + begin * cols,
                              cols,      begin,          width};
      search_kernels().take_up(columns);
      LaneGrid grid{};
      for (int l = 0; l < count; ++l) {
        const auto group = static_cast<size_t>(out_.group_index(first + l, begin));
        if (!needs_parameters_first(out_.format)) {
          for (int j = 0; j < width; ++j) row[static_cast<size_t>(j)] = x_[static_cast<size_t>(j)].lane[l];
          const GroupParameters p =
              search_group(out_.format, search_, row.data(), problem_.importance.data() + begin, width);
          out_.scales[group] = p.scale;
          if (!out_.zeros.empty()) out_.zeros[group] = p.zero;
        }
        grid.scale.lane[l] = out_.scales[group];
        grid.min.lane[l] =
            out_.scales[group] * (out_.zero_at(static_cast<int64_t>(group)) - static_cast<float>(shift_));
      }
      search_kernels().round_columns(columns, levels_, &grid, width, codes_.data());
      for (int l = 0; l < count; ++l) {
        uint8_t* to = out_.codes.data() + (first + l) * cols + begin;
        for (int j = 0; j < width; ++j) to[j] = static_cast<uint8_t>(codes_[static_cast<size_t>(j)].lane[l] + shift_);
      }
    }
  }

 private:
  GroupMatrix& out_;
  const GroupSearch search_;
  const GptqProblem& problem_;
  const int64_t size_;
  const int shift_;  // codes of 8 bits are handled as signed bytes
  LevelSet levels_;
  std::vector<LaneFloats> errors_, x_;
  std::vector<LaneBytes> codes_;
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
