#include <stdint.h>

#include "kernel/peak.h"
#include "kernel/tile_shapes.h"

#define LOWBIT_INLINE inline __attribute__((always_inline, unused))

namespace lowbit::amx {

#include "kernel/tiles_amx.h"

int64_t peak_codes(int64_t rounds) {
  constexpr int kRows = 16, kBytes = 64;
  TileShapes shapes{};
  shapes.palette = 1;
  for (int i = 0; i < 8; ++i) {
    shapes.rows[i] = kRows;
    shapes.row_bytes[i] = kBytes;
  }
  set_shapes(shapes);
  for (int64_t i = 0; i < rounds; ++i) {  // as many chains as hide the latency
    add_tile_product<0, 6, 7>();
    add_tile_product<1, 6, 7>();
    add_tile_product<2, 6, 7>();
    add_tile_product<3, 6, 7>();
    add_tile_product<4, 6, 7>();
    add_tile_product<5, 6, 7>();
  }
  release_tiles();
  return rounds * 6 * kRows * kRows * kBytes * 2;
}

}  // namespace lowbit::amx
