#include "quantize/quantize_groups.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "quantize/assign/group.h"

namespace lowbit {
namespace {

constexpr int64_t kTaskWeights = int64_t{1} << 16;

/// The weights of group `index`: consecutive in a row-major matrix, whatever the span.
struct Run {
  int64_t begin, count;
};

Run run_of(const GroupFormat& f, int64_t rows, int64_t cols, int64_t index) {
  switch (f.span) {
    case GroupSpan::Row: {
      const int64_t groups = groups_per_row(f, cols), size = f.group == 0 ? cols : f.group;
      const int64_t first = index % groups * size;
      return {index / groups * cols + first, std::min(size, cols - first)};
    }
    case GroupSpan::Flat: {
      const int64_t size = f.group == 0 ? cols : f.group;
      return {index * size, std::min(size, rows * cols - index * size)};
    }
    case GroupSpan::Tensor:
      return {0, rows * cols};
    case GroupSpan::Strided:
      break;
  }
  throw std::logic_error("strided groups are only read");
}

void for_groups(const GroupFormat& f, int64_t rows, int64_t cols, ThreadPool& pool,
                const std::function<void(int64_t, Run)>& task) {
  const int64_t groups = group_count(f, rows, cols);
  const int64_t step = std::max<int64_t>(1, kTaskWeights / std::max<int64_t>(1, rows * cols / groups));
  pool.run((groups + step - 1) / step, [&](int64_t block, int) {
    for (int64_t g = block * step; g < std::min(groups, (block + 1) * step); ++g) task(g, run_of(f, rows, cols, g));
  });
}

}  // namespace

GroupMatrix quantize_groups(const GroupFormat& format, GroupSearch search, const float* weights, int64_t rows,
                            int64_t cols, const float* importance, ThreadPool& pool, const GroupGrams* grams) {
  GroupMatrix out;
  out.format = format;
  out.rows = rows;
  out.cols = cols;
  out.resize();
  for_groups(format, rows, cols, pool, [&](int64_t g, Run run) {
    std::vector<float> counted;
    if (importance != nullptr) {
      counted.resize(static_cast<size_t>(run.count));
      for (int64_t i = 0; i < run.count; ++i) counted[static_cast<size_t>(i)] = importance[(run.begin + i) % cols];
    }
    const GroupParameters p =
        search_group(format, search, weights + run.begin, counted.empty() ? nullptr : counted.data(), run.count,
                     grams == nullptr ? nullptr : grams->at(run.begin % cols));
    out.scales[static_cast<size_t>(g)] = p.scale;
    if (!out.zeros.empty()) out.zeros[static_cast<size_t>(g)] = p.zero;
  });
  if (format.doubly_quantized) out.set_scales(std::vector<float>(out.scales));
  assign_groups(out, weights, pool);
  return out;
}

void assign_groups(GroupMatrix& m, const float* weights, ThreadPool& pool) {
  for_groups(m.format, m.rows, m.cols, pool, [&](int64_t g, Run run) {
    assign_group(m.format, {m.scales[static_cast<size_t>(g)], m.zero_at(g)}, weights + run.begin, run.count,
                 m.codes.data() + run.begin);
  });
}

}  // namespace lowbit
