// What ldtilecfg reads (Intel SDM, volume 1, chapter 18).
#pragma once

#include <stdint.h>

namespace lowbit {

struct alignas(64) TileShapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];  ///< of each tile register
  uint8_t rows[16];
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace lowbit
