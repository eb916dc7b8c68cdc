// The order in which GPTQ rounds a matrix's columns: those that inputs excite most come first, while there are many
// columns left to take their errors up.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace lowbit {

enum class ColumnOrder : uint8_t {
  Stored,      ///< as they are stored
  GroupAware,  ///< whole groups by their inputs, and the columns of each by theirs (GPTQModel's act_group_aware)
  Static,      ///< by their inputs, on parameters that were all found before (static_groups)
  Activation,  ///< by their inputs, in groups that follow this order: the file says which column is of which (desc_act)
};

/// stored, group-aware, static or act. Throws Error for another name.
ColumnOrder column_order_named(std::string_view name);
std::string_view column_order_name(ColumnOrder order);

/// An order made for one matrix.
struct ColumnRanks {
  std::vector<int32_t> columns;  ///< stored columns as they are rounded; empty: as they are stored
  /// Columns whose parameters are found together, when the first of them comes up: a multiple of the format's block or
  /// group. 0: one block or group.
  int64_t unit = 0;
  bool groups_follow = false;  ///< units are consecutive in `columns`; otherwise as stored

  int64_t at(int64_t rank) const { return columns.empty() ? rank : columns[static_cast<size_t>(rank)]; }
};

/// `importance`: the mean square of each column's input. `block`: columns that share parameters.
ColumnRanks rank_columns(ColumnOrder order, const std::vector<float>& importance, int64_t block);

}  // namespace lowbit
