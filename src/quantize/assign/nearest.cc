#include "quantize/assign/nearest.h"

#include <cstring>

namespace lowbit {

void assign_nearest(const BlockBatch& batch, const BlockHeader* headers, uint8_t* codes) {
  const Encoding& encoding = *batch.encoding;
  std::array<float, 16> table;
  LaneGrid grid{};
  for (int b = 0; b < batch.count; ++b) set_grid(batch, b, encoding.grid(headers[b]), grid);
  alignas(64) uint8_t all[kLanes * kMaxSubBlock];
  search_kernels().assign(batch.lanes, level_set(encoding, table), grid, all);
  std::memcpy(codes, all, static_cast<size_t>(batch.count * encoding.block));
}

}  // namespace lowbit
