// Products with coded weights, portable: the definition that the other instruction sets are held to, bit for bit.
//
// Per output and tile, ascending: t = dot * scale, per sub-scale of the tile; t -= minimum * sum; total += t *
// activation scale. Dots and sums are exact integers, each of the other steps is one fused multiply-add.
//
// By chunks (scaled_by_chunks()): t = the sum of dot * integer scale, exact. Of a chunk, part += t * activation scale
// and less += integer minimum * (activation scale * sum, rounded), per sub-scale; then total += part * d and
// total -= less * dmin.
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

/// What multiplies the dots and the sums of a tile, [sub-scale][row]; by chunks, without d and dmin.
struct TileScales {
  float scale[2][kPanelRows], minimum[2][kPanelRows];
};

/// A chunk of a panel.
struct Chunk {
  FamilyTraits t;
  int tiles;
  float d[kPanelRows], dmin[kPanelRows];  ///< where there are sub-scales
  TileScales scales[kChunkTiles];
  uint8_t codes[kChunkTiles][kPanelRows][kTileCols];  ///< through the table if there is one
};

void read_scales(Chunk& chunk, const uint8_t* data, int shared, int tile) {
  const FamilyTraits t = chunk.t;
  TileScales& out = chunk.scales[tile];
  for (int row = 0; row < kPanelRows; ++row) {
    if (t.sub_scales == 0) {
      const int at = 2 * ((tile >> shared) * kPanelRows + row);
      out.scale[0][row] = f16_at(data + at);
      if (t.minima) out.minimum[0][row] = f16_at(data + minima_at(t, chunk.tiles, shared) + at);
      if (t.zeros) out.minimum[0][row] *= out.scale[0][row];
    }
    for (int s = 0; s < t.sub_scales; ++s) {
      const auto scale = static_cast<float>(sub_scale(t, data, tile, s, row));
      out.scale[s][row] = scaled_by_chunks(t) ? scale : chunk.d[row] * scale;
      if (!t.minima) continue;
      const auto minimum = static_cast<float>(sub_minimum(t, data, chunk.tiles, tile, s, row));
      out.minimum[s][row] = scaled_by_chunks(t) ? minimum : chunk.dmin[row] * minimum;
    }
  }
}

void read_chunk(const PackedView& w, const uint8_t* data, Chunk& out) {
  const FamilyTraits t = out.t;
  for (int row = 0; row < kPanelRows && t.sub_scales > 0; ++row) {
    out.d[row] = f16_at(data + d_at(t) + 2 * row);
    if (t.minima) out.dmin[row] = f16_at(data + 2 * kPanelRows + 2 * row);
  }
  const uint8_t* vectors = data + header_bytes(t, out.tiles, w.shared);
  for (int tile = 0; tile < out.tiles; ++tile, vectors += tile_bytes(t)) {
    read_scales(out, data, w.shared, tile);
    for (int row = 0; row < kPanelRows; ++row) {
      for (int c = 0; c < kTileCols; ++c) {
        const int code = code_at(t.bits, vectors, row, c);
        out.codes[tile][row][c] = t.table ? w.table[code] : static_cast<uint8_t>(code);
      }
    }
  }
}

/// The sum of dots by scales of a row's tile, by a token's.
float scaled_dots(const Chunk& chunk, int tile, int row, const ActivationTile& x) {
  const FamilyTraits t = chunk.t;
  const int parts = t.sub_scales == 2 ? 2 : 1, width = kTileCols / parts;
  const int offset = has_offset(t) ? 1 << offset_shift(t) : 0;
  float value = 0;
  for (int s = 0; s < parts; ++s) {
    int32_t dot = 0;
    for (int c = s * width; c < (s + 1) * width; ++c) dot += (chunk.codes[tile][row][c] - offset) * x.codes[c];
    const float scale = chunk.scales[tile].scale[s][row];
    value = s == 0 ? static_cast<float>(dot) * scale : __builtin_fmaf(static_cast<float>(dot), scale, value);
  }
  return value;
}

/// total + a chunk of a row by a token's tiles.
float add_chunk(const Chunk& chunk, int row, const ActivationTile* x, float total) {
  const FamilyTraits t = chunk.t;
  if (!scaled_by_chunks(t)) {
    for (int tile = 0; tile < chunk.tiles; ++tile) {
      float value = scaled_dots(chunk, tile, row, x[tile]);
      if (t.minima) value = __builtin_fmaf(-chunk.scales[tile].minimum[0][row], x[tile].sum, value);
      total = __builtin_fmaf(value, x[tile].scale, total);
    }
    return total;
  }
  float part = 0, less = 0;
  for (int tile = 0; tile < chunk.tiles; ++tile) {
    part = __builtin_fmaf(scaled_dots(chunk, tile, row, x[tile]), x[tile].scale, part);
    for (int s = 0; s < 2 && t.minima; ++s) {
      less = __builtin_fmaf(chunk.scales[tile].minimum[s][row], x[tile].scaled_half_sum[s], less);
    }
  }
  total = __builtin_fmaf(part, chunk.d[row], total);
  return t.minima ? __builtin_fmaf(-less, chunk.dmin[row], total) : total;
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
    const uint8_t* data = w.data + static_cast<uint64_t>(panel) * w.panel_bytes;
    for (int64_t done = 0; done < tiles; done += kChunkTiles) {
      Chunk chunk;
      chunk.t = t;
      chunk.tiles = tiles - done < kChunkTiles ? static_cast<int>(tiles - done) : kChunkTiles;
      read_chunk(w, data, chunk);
      for (int64_t token = 0; token < x.tokens; ++token) {
        float* to = out + token * out_stride + panel * kPanelRows;
        for (int row = 0; row < rows; ++row) {
          to[row] = add_chunk(chunk, row, activations + token * tiles + done, done == 0 ? 0.0f : to[row]);
        }
      }
      data += chunk_bytes(t, chunk.tiles, w.shared);
    }
  }
}

}  // namespace lowbit::ref
