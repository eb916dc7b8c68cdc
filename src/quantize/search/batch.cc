#include "quantize/search/batch.h"

#include <algorithm>
#include <cmath>

#include "quantize/search/weights.h"

namespace lowbit {
namespace {

// Below 2^-40 nothing can be told from 0: the smallest scale that a block can store is 2^-24.
constexpr int kLowestExponent = -40, kHighestExponent = 126;

float greatest_magnitude(const float* x, int n) {
  float out = 0;
  for (int i = 0; i < n; ++i) out = std::max(out, std::fabs(x[i]));
  return out;
}

}  // namespace

LevelSet level_set(const Encoding& encoding, std::array<float, 16>& table) {
  const auto& levels = encoding.levels;
  const bool whole = levels.back() - levels.front() == static_cast<int>(levels.size()) - 1;
  if (!whole) std::copy(levels.begin(), levels.end(), table.begin());
  return {static_cast<float>(levels.front()), static_cast<float>(levels.back()), whole ? nullptr : table.data()};
}

void gather(const Encoding& encoding, const float* const* x, const float* const* importance, int count,
            BlockBatch& out) {
  out.encoding = &encoding;
  out.count = count;
  out.lanes.size = encoding.sub;
  const int sub_blocks = encoding.sub_blocks();
  if (count * sub_blocks < kLanes) {  // spare lanes
    for (int i = 0; i < encoding.sub; ++i) {
      std::fill_n(out.lanes.x[i].lane, kLanes, 0.0F);
      std::fill_n(out.lanes.weight[i].lane, kLanes, 1.0F);
    }
  }
  float scaled[kMaxBlock], weight[kMaxBlock];
  for (int b = 0; b < count; ++b) {
    const auto at = static_cast<size_t>(b);
    const float most = greatest_magnitude(x[b], encoding.block);
    const int exponent = most > 0 ? std::clamp(std::ilogb(most), kLowestExponent, kHighestExponent) : 0;
    out.zero[at] = most == 0;
    out.to[at] = std::ldexp(1.0F, -exponent);
    out.from[at] = std::ldexp(1.0F, exponent);
    for (int i = 0; i < encoding.block; ++i) scaled[i] = x[b][i] * out.to[at];
    block_weights(encoding, scaled, importance != nullptr ? importance[b] : nullptr, weight);
    for (int s = 0; s < sub_blocks; ++s) {
      for (int i = 0; i < encoding.sub; ++i) {
        out.lanes.x[i].lane[b * sub_blocks + s] = scaled[s * encoding.sub + i];
        out.lanes.weight[i].lane[b * sub_blocks + s] = weight[s * encoding.sub + i];
      }
    }
  }
}

void set_grid(const BlockBatch& batch, int b, const BlockGrid& grid, LaneGrid& out) {
  const int sub_blocks = batch.encoding->sub_blocks();
  const float to = batch.to[static_cast<size_t>(b)];
  for (int s = 0; s < sub_blocks; ++s) {
    out.scale.lane[b * sub_blocks + s] = grid.scale[static_cast<size_t>(s)] * to;
    out.min.lane[b * sub_blocks + s] = grid.min[static_cast<size_t>(s)] * to;
  }
}

}  // namespace lowbit
