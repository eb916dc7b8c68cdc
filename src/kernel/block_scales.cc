#include "kernel/block_scales.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

ActivationTile tile_of(const float* x, float scale, float inverse) {
  ActivationTile tile{};
  int sums[2] = {};
  for (int c = 0; c < kTileCols; ++c) {
    const float code = std::nearbyint(x[c] * inverse);
    tile.codes[c] = static_cast<int8_t>(std::clamp(std::isnan(code) ? 0.0f : code, -127.0f, 127.0f));
    sums[c / 16] += tile.codes[c];
  }
  tile.scale = scale;
  tile.sum = static_cast<float>(sums[0] + sums[1]);
  tile.minus_sum = -(sums[0] + sums[1]);
  for (int h = 0; h < 2; ++h) {
    tile.half_sum[h] = static_cast<float>(sums[h]);
    tile.minus_half_sum[h] = -sums[h];
  }
  return tile;
}

}  // namespace

void quantize_row_in_blocks(const float* x, int64_t cols, int block, ActivationTile* out, int64_t stride) {
  for (int64_t begin = 0; begin < cols; begin += block) {
    float most = 0;
    // A NaN becomes the scale, so that it shows in the result.
    for (int64_t c = begin; c < begin + block; ++c)
      most = std::fabs(x[c]) > most || std::isnan(x[c]) ? std::fabs(x[c]) : most;
    const bool zero = most < 0x1p-100f;
    for (int64_t c = begin; c < begin + block; c += kTileCols, out += stride) {
      *out = tile_of(x + c, zero ? 0.0f : most / 127.0f, zero ? 0.0f : 127.0f / most);
    }
  }
}

}  // namespace lowbit
