#include "quantize/assign/group.h"

#include <algorithm>
#include <array>

#include "quantize/assign/round.h"

namespace lowbit {
namespace {

/// Codes by value, and between each two the midpoint that parts them.
struct SortedTable {
  std::array<uint8_t, 16> codes;
  std::array<float, 15> midpoints;
};

SortedTable sorted(const GroupFormat& format) {
  const std::span<const float> levels = group_levels(format);
  SortedTable out;
  for (uint8_t i = 0; i < 16; ++i) out.codes[i] = i;
  std::stable_sort(out.codes.begin(), out.codes.end(), [&](uint8_t a, uint8_t b) { return levels[a] < levels[b]; });
  for (size_t i = 0; i < 15; ++i) out.midpoints[i] = (levels[out.codes[i]] + levels[out.codes[i + 1]]) / 2;
  return out;
}

const SortedTable& table_of(const GroupFormat& format) {
  static const SortedTable nf4 = sorted({.levels = GroupLevels::NF4}), fp4 = sorted({.levels = GroupLevels::FP4});
  return format.levels == GroupLevels::NF4 ? nf4 : fp4;
}

}  // namespace

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
  for (int64_t i = 0; i < count; ++i) {
    const float value = x[i] * inverse;
    int at = 0;
    for (const float midpoint : table.midpoints)
      at += value > midpoint ? 1 : 0;  // a tie goes down, as bitsandbytes has it
    codes[i] = table.codes[static_cast<size_t>(at)];
  }
}

}  // namespace lowbit
