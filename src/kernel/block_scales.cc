#include "kernel/block_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lowbit {
namespace {

ActivationTile tile_of(const float* x, int64_t count, float scale, float inverse) {
  constexpr float kRound = 0x1.8p23f;  // to the nearest integer, ties to even, of what is far smaller; vectorised
  ActivationTile tile{};
  int sums[2] = {};
  for (int64_t c = 0; c < count; ++c) tile.codes[c] = static_cast<int8_t>((x[c] * inverse + kRound) - kRound);
  for (int c = 0; c < kTileCols; ++c) sums[c / 16] += tile.codes[c];
  tile.scale = scale;
  set_sums(tile, sums[0], sums[1]);
  return tile;
}

}  // namespace

void quantize_row_on_scale(const float* x, int64_t cols, float scale, ActivationTile* out, int64_t stride) {
  const float inverse = 1 / scale;
  float inside[kTileCols];
  for (int64_t begin = 0; begin < cols; begin += kTileCols, out += stride) {
    const int64_t count = std::min<int64_t>(kTileCols, cols - begin);
    bool nan = false;
    for (int64_t c = 0; c < count; ++c) {
      nan = nan || std::isnan(x[begin + c]);
      inside[c] = std::clamp(x[begin + c] * inverse, -127.0f, 127.0f);
    }
    *out = tile_of(inside, nan ? 0 : count, nan ? std::numeric_limits<float>::quiet_NaN() : scale, 1);
  }
}

void quantize_row_in_blocks(const float* x, int64_t cols, int64_t block, ActivationTile* out, int64_t stride) {
  for (int64_t begin = 0; begin < cols; begin += block) {
    const int64_t end = std::min(begin + block, cols);
    float most = 0;
    // A NaN becomes the scale, so that it shows in the result.
    for (int64_t c = begin; c < end; ++c) most = std::fabs(x[c]) > most || std::isnan(x[c]) ? std::fabs(x[c]) : most;
    const bool zero = most < kLeastActivation;
    const float scale = zero ? 0.0f : most / 127.0f, inverse = zero ? 0.0f : 127.0f / most;
    for (int64_t c = begin; c < end; c += kTileCols, out += stride) {
      const int64_t count = std::isfinite(most) ? std::min<int64_t>(kTileCols, end - c) : 0;
      *out = tile_of(x + c, count, scale, inverse);
    }
  }
}

}  // namespace lowbit
