// The nearest codes of a group.
#pragma once

#include <array>

#include "kernel/groups.h"
#include "quantize/search/group.h"

namespace lowbit {

/// Levels in ascending order, and the code of each.
struct SortedTable {
  std::array<uint8_t, 16> codes;
  GroupTable table;
};
/// That of a format whose levels are no integers.
const SortedTable& table_of(const GroupFormat& format);

/// codes[i]: the code whose value is nearest to x[i], for i < count.
void assign_group(const GroupFormat& format, GroupParameters parameters, const float* x, int64_t count, uint8_t* codes);

}  // namespace lowbit
