#include "quantize/assign/group.h"

#include <algorithm>

#include "quantize/assign/round.h"

namespace lowbit {
namespace {

SortedTable sorted(const GroupFormat& format) {
  const std::span<const float> levels = group_levels(format);
  SortedTable out;
  for (uint8_t i = 0; i < 16; ++i) out.codes[i] = i;
  std::stable_sort(out.codes.begin(), out.codes.end(), [&](uint8_t a, uint8_t b) { return levels[a] < levels[b]; });
  for (size_t i = 0; i < 16; ++i) out.table.levels[i] = levels[out.codes[i]];
  for (size_t i = 0; i < 15; ++i) {
    out.table.midpoints[i] = (out.table.levels[i] + out.table.levels[i + 1]) / 2;
  }
  return out;
}

}  // namespace

const SortedTable& table_of(const GroupFormat& format) {
  static const SortedTable nf4 = sorted({.levels = GroupLevels::NF4}), fp4 = sorted({.levels = GroupLevels::FP4});
  return format.levels == GroupLevels::NF4 ? nf4 : fp4;
}

void assign_group(const GroupFormat& format, GroupParameters p, const float* x, int64_t count, uint8_t* codes) {
  const float inverse = p.scale == 0 ? 0 : 1 / p.scale;
  if (format.levels == GroupLevels::Integer) {
    const auto top = static_cast<float>(format.codes() - 1);
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = static_cast<uint8_t>(nearest_integer(std::min(std::max(x[i] * inverse + p.zero, 0.0F), top)));
    }
    return;
  }
  const SortedTable& table = table_of(format);
  std::fill(codes, codes + count, uint8_t{0});
  for (const float midpoint : table.table.midpoints) {
    // A tie goes down, as bitsandbytes has it.
    for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(codes[i] + (x[i] * inverse > midpoint ? 1 : 0));
  }
  for (int64_t i = 0; i < count; ++i) codes[i] = table.codes[codes[i]];
}

}  // namespace lowbit
