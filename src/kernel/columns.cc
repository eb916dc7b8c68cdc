#include "kernel/columns.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"

namespace lowbit {

bool has_columns(const PackedMatrix& w) { return w.view().family == Family::S8; }

void add_columns(const PackedMatrix& w, int64_t begin, int64_t end, std::span<const int32_t> columns, const float* x,
                 float* out) {
  const PackedView& view = w.view();
  constexpr FamilyTraits kTraits = traits(Family::S8);
  const int64_t tiles = view.cols / kTileCols;
  for (int64_t p = begin; p < end; ++p) {
    const uint8_t* panel = view.data + static_cast<uint64_t>(p) * view.panel_bytes;
    const int rows = static_cast<int>(std::min<int64_t>(kPanelRows, view.rows - p * kPanelRows));
    float* to = out + p * kPanelRows;
    for (size_t i = 0; i < columns.size(); ++i) {
      const int64_t tile = columns[i] / kTileCols, chunk = tile / kChunkTiles, in_chunk = tile % kChunkTiles;
      const int in_tile = columns[i] % kTileCols;
      const int width = static_cast<int>(std::min<int64_t>(kChunkTiles, tiles - chunk * kChunkTiles));
      const uint8_t* at = panel + chunk * chunk_bytes(kTraits, kChunkTiles, view.shared);
      const uint8_t* scales = at + (in_chunk >> view.shared) * scales_bytes(kTraits);
      const uint8_t* codes =
          at + header_bytes(kTraits, width, view.shared) + in_chunk * tile_bytes(kTraits) + in_tile / 4 * 64;
      for (int r = 0; r < rows; ++r) {
        uint16_t scale = 0;
        std::memcpy(&scale, scales + 2 * r, sizeof scale);
        to[r] += f16_to_f32(scale) * static_cast<float>(codes[4 * r + in_tile % 4] - 128) * x[i];
      }
    }
  }
}

}  // namespace lowbit
