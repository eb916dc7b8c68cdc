// The products of matmul_amx.cc with tile registers that are emulated as the manual defines them, so that what is built
// on them is tested on machines without AMX.
#include "kernel/emulated.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "kernel/layout.h"
#include "kernel/tile_shapes.h"
#include "kernel/unroll.h"

#define LOWBIT_INLINE inline __attribute__((always_inline))
#define LOWBIT_INLINE_LAMBDA __attribute__((always_inline))
#define LOWBIT_TILES

namespace lowbit::amx_emulated {
namespace {

struct Tile {
  uint8_t bytes[16][64];
};
thread_local TileShapes shapes_now;
thread_local Tile tiles_now[8];

void set_shapes(const TileShapes& shapes) {
  shapes_now = shapes;
  memset(tiles_now, 0, sizeof tiles_now);
}
void release_tiles() { set_shapes(TileShapes{}); }

template <int kTile>
void load_tile(const void* rows, int64_t stride) {
  memset(&tiles_now[kTile], 0, sizeof(Tile));
  for (int r = 0; r < shapes_now.rows[kTile]; ++r) {
    memcpy(tiles_now[kTile].bytes[r], static_cast<const uint8_t*>(rows) + r * stride, shapes_now.row_bytes[kTile]);
  }
}
template <int kTile>
void store_tile(void* rows, int64_t stride) {
  for (int r = 0; r < shapes_now.rows[kTile]; ++r) {
    memcpy(static_cast<uint8_t*>(rows) + r * stride, tiles_now[kTile].bytes[r], shapes_now.row_bytes[kTile]);
  }
}
template <int kTile>
void clear_tile() {
  memset(&tiles_now[kTile], 0, sizeof(Tile));
}
template <int kTo, int kA, int kB>
void add_tile_product() {
  const int columns = shapes_now.row_bytes[kTo] / 4, depth = shapes_now.row_bytes[kA] / 4;
  if (shapes_now.rows[kTo] != shapes_now.rows[kA] || shapes_now.rows[kB] != depth ||
      shapes_now.row_bytes[kB] != shapes_now.row_bytes[kTo]) {
    __builtin_trap();  // as the instruction refuses shapes that do not fit
  }
  for (int m = 0; m < shapes_now.rows[kTo]; ++m) {
    for (int n = 0; n < columns; ++n) {
      int32_t sum;
      memcpy(&sum, &tiles_now[kTo].bytes[m][4 * n], sizeof sum);
      for (int k = 0; k < depth; ++k) {
        for (int i = 0; i < 4; ++i) {
          sum += static_cast<int8_t>(tiles_now[kA].bytes[m][4 * k + i]) *
                 static_cast<int8_t>(tiles_now[kB].bytes[k][4 * n + i]);
        }
      }
      memcpy(&tiles_now[kTo].bytes[m][4 * n], &sum, sizeof sum);
    }
  }
}

}  // namespace

// The order matters.
// clang-format off
#include "kernel/codes_avx512.h"
#include "kernel/matmul_codes_body.h"
#include "kernel/matmul_decode_body.h"
#include "kernel/matmul_rows_body.h"
#include "kernel/matmul_tiles_body.h"
#include "kernel/matmul_families_body.h"
// clang-format on

}  // namespace lowbit::amx_emulated
