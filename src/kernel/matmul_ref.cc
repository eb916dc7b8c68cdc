// Products with coded weights, portable: the definition that the other instruction sets are held to, bit for bit.
//
// Per output and tile, ascending: t = dot * scale (- minimum * sum), per sub-scale of the tile; total += t * activation
// scale. Dots and sums are exact integers, each of the other steps is one fused multiply-add.
#include <stdint.h>
#include <string.h>

#include "base/half.h"
#include "kernel/ops.h"

namespace lowbit::ref {
namespace {

float f16_at(const uint8_t* p) {
  uint16_t half;
  memcpy(&half, p, sizeof half);
  return f16_to_f32(half);
}

/// What multiplies the dots and the sums of a tile, [sub-scale][row].
struct TileScales {
  float scale[2][kPanelRows], minimum[2][kPanelRows];
};

void read_scales(FamilyTraits t, const uint8_t* chunk, int tiles, int shared, int tile, TileScales& out) {
  for (int row = 0; row < kPanelRows; ++row) {
    if (t.sub_scales == 0) {
      const int at = 2 * ((tile >> shared) * kPanelRows + row);
      out.scale[0][row] = f16_at(chunk + at);
      if (t.minima) out.minimum[0][row] = f16_at(chunk + minima_at(t, tiles, shared) + at);
      if (t.zeros) out.minimum[0][row] *= out.scale[0][row];
    }
    for (int s = 0; s < t.sub_scales; ++s) {
      const int scale = sub_scale(t, chunk, tile, s, row);
      out.scale[s][row] = f16_at(chunk + d_at(t) + 2 * row) * static_cast<float>(scale);
      if (!t.minima) continue;
      const int minimum = sub_minimum(t, chunk, tiles, tile, s, row);
      out.minimum[s][row] = f16_at(chunk + 2 * kPanelRows + 2 * row) * static_cast<float>(minimum);
    }
  }
}

/// codes[row][column] of a tile, through the table if there is one.
void read_codes(const PackedView& w, FamilyTraits t, const uint8_t* vectors, uint8_t codes[kPanelRows][kTileCols]) {
  for (int row = 0; row < kPanelRows; ++row) {
    for (int c = 0; c < kTileCols; ++c) {
      const int code = code_at(t.bits, vectors, row, c);
      codes[row][c] = t.table ? w.table[code] : static_cast<uint8_t>(code);
    }
  }
}

float add_tile(FamilyTraits t, const uint8_t* codes, const TileScales& scales, int row, const ActivationTile& x,
               float total) {
  const int parts = t.sub_scales == 2 ? 2 : 1, width = kTileCols / parts;
  const float* sums = parts == 2 ? x.half_sum : &x.sum;
  float value = 0;
  for (int s = 0; s < parts; ++s) {
    int32_t dot = !has_offset(t) ? 0 : -static_cast<int32_t>(sums[s]) * (1 << offset_shift(t));
    for (int c = s * width; c < (s + 1) * width; ++c) dot += codes[c] * x.codes[c];
    const float scale = scales.scale[s][row];
    value = s == 0 ? static_cast<float>(dot) * scale : __builtin_fmaf(static_cast<float>(dot), scale, value);
  }
  for (int s = 0; s < parts && t.minima; ++s) value = __builtin_fmaf(-scales.minimum[s][row], sums[s], value);
  return __builtin_fmaf(value, x.scale, total);
}

}  // namespace

const int kCodeGroup = 1;

void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                  int64_t out_stride) {
  const FamilyTraits t = traits(w.family);
  const int64_t tiles = w.cols / kTileCols;
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  for (int64_t panel = begin; panel < end; ++panel) {
    const int64_t left = w.rows - panel * kPanelRows;
    const int rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
    const uint8_t* chunk = w.data + static_cast<uint64_t>(panel) * w.panel_bytes;
    for (int64_t done = 0; done < tiles; done += kChunkTiles) {
      const int n = tiles - done < kChunkTiles ? static_cast<int>(tiles - done) : kChunkTiles;
      for (int tile = 0; tile < n; ++tile) {
        TileScales scales;
        uint8_t codes[kPanelRows][kTileCols];
        read_scales(t, chunk, n, w.shared, tile, scales);
        read_codes(w, t, chunk + header_bytes(t, n, w.shared) + tile * tile_bytes(t), codes);
        for (int64_t token = 0; token < x.tokens; ++token) {
          float* to = out + token * out_stride + panel * kPanelRows;
          for (int row = 0; row < rows; ++row) {
            const float before = done + tile == 0 ? 0.0f : to[row];
            to[row] = add_tile(t, codes[row], scales, row, activations[token * tiles + done + tile], before);
          }
        }
      }
      chunk += chunk_bytes(t, n, w.shared);
    }
  }
}

}  // namespace lowbit::ref
