#include "quantize/search/batch.h"

#include <algorithm>
#include <cstring>

namespace lowbit {
namespace {

/// How even weights of different size count beside their importance, as SearchKernels::prepare takes it: those that are
/// large themselves meet large activations more often than chance.
constexpr float kEvenness = 3.0F;

using Four = float __attribute__((vector_size(16)));

Four load_four(const float* p) {
  Four v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

/// out[i].lane[4 group + l] = rows[l][i]
void transpose_four(const float* const* rows, int size, int group, LaneFloats* out) {
  for (int i = 0; i < size; i += 4) {
    const Four a = load_four(rows[0] + i), b = load_four(rows[1] + i), c = load_four(rows[2] + i),
               d = load_four(rows[3] + i);
    const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7),
               cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const Four columns[4] = {
        __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5), __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
        __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5), __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
    for (int j = 0; j < 4; ++j) std::memcpy(out[i + j].lane + 4 * group, &columns[j], sizeof(Four));
  }
}

void transpose(const Encoding& encoding, const float* const* blocks, int count, LaneFloats* out) {
  static constexpr float kEmpty[kMaxSubBlock] = {};
  const int sub_blocks = encoding.sub_blocks();
  const float* rows[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int b = lane / sub_blocks;
    rows[lane] = b < count ? blocks[b] + lane % sub_blocks * encoding.sub : kEmpty;
  }
  for (int group = 0; group < kLanes / 4; ++group) transpose_four(rows + 4 * group, encoding.sub, group, out);
}

}  // namespace

void gather(const Encoding& encoding, const float* const* x, const float* const* importance, int count,
            BlockBatch& out) {
  const auto& levels = encoding.levels;
  const bool whole = levels.back() - levels.front() == static_cast<int>(levels.size()) - 1;
  if (!whole) std::copy(levels.begin(), levels.end(), out.table.begin());
  out.levels = {static_cast<float>(levels.front()), static_cast<float>(levels.back()),
                whole ? nullptr : out.table.data()};
  out.encoding = &encoding;
  out.count = count;
  out.lanes.size = encoding.sub;
  out.lanes.weighted = importance != nullptr;
  transpose(encoding, x, count, out.lanes.x);
  if (importance != nullptr) transpose(encoding, importance, count, out.lanes.weight);
  search_kernels().prepare(out.lanes, encoding.sub_blocks(), kEvenness, out.factor);
}

}  // namespace lowbit
