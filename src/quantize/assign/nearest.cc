#include "quantize/assign/nearest.h"

#include <cstring>

namespace lowbit {
namespace {

using Bytes = uint8_t __attribute__((vector_size(16)));

/// out[16 * l + i] = in[i].lane[l] - low, for i < 16, at a stride of `stride` bytes a lane.
void transpose(const LaneBytes* in, uint8_t low, int stride, uint8_t* out) {
  constexpr Bytes kLow = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  constexpr Bytes kHigh = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  Bytes a[16], b[16];
  std::memcpy(a, in, sizeof a);
  for (int round = 0; round < 2; ++round) {  // four perfect shuffles of the 256 bytes
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = __builtin_shuffle(a[i], a[i + 8], kLow);
      b[2 * i + 1] = __builtin_shuffle(a[i], a[i + 8], kHigh);
    }
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = __builtin_shuffle(b[i], b[i + 8], kLow);
      a[2 * i + 1] = __builtin_shuffle(b[i], b[i + 8], kHigh);
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    a[l] -= low;
    std::memcpy(out + l * stride, &a[l], sizeof(Bytes));
  }
}

}  // namespace

void assign_nearest(const BlockBatch& batch, const BlockHeader* headers, uint8_t* codes) {
  const Encoding& encoding = *batch.encoding;
  const int sub_blocks = encoding.sub_blocks(), size = encoding.sub;
  LaneGrid grid{};
  for (int b = 0; b < batch.count; ++b) {
    const BlockGrid exact = encoding.grid(headers[b]);
    for (int s = 0; s < sub_blocks; ++s) {
      grid.scale.lane[b * sub_blocks + s] = exact.scale[static_cast<size_t>(s)] * batch.factor_of(b);
      grid.min.lane[b * sub_blocks + s] = exact.min[static_cast<size_t>(s)] * batch.factor_of(b);
    }
  }
  LaneBytes levels[kMaxSubBlock];
  search_kernels().assign(batch.lanes, batch.levels, grid, levels);
  const bool table = batch.levels.table != nullptr;
  const auto low = static_cast<uint8_t>(table ? 0 : encoding.levels.front());
  for (int i = 0; i < size; i += 16) transpose(levels + i, low, size, codes + i);
}

}  // namespace lowbit
