// Grouped weights as blocks that there are kernels for: what a quantized directory becomes when it is loaded.
#pragma once

#include <string>
#include <vector>

#include "encoding/group.h"

namespace lowbit {

struct Lowering {
  const Encoding* encoding = nullptr;
  /// Column c of the blocks is column column_order[c] of the weight, where groups had to be brought together; empty: as
  /// it is.
  std::vector<int32_t> column_order;
};

/// The smallest encoding that holds these weights: values are equal bit for bit, but for scales that binary16 rounds
/// (F32 and BF16 scales), zeros that it rounds (Float zeros) and tables (see encoding/lowered.cc). Binary32 where
/// groups do not keep to blocks of 32 columns. `group_of_column` as in GroupMatrix.
Lowering lowering_of(const GroupFormat& format, int64_t rows, int64_t cols,
                     const std::vector<int32_t>& group_of_column);

/// Rows [begin, begin + count) in the lowering's encoding: out[count * encoding.bytes(cols)]. Throws Error for a scale
/// beyond binary16's range; `where` opens the message.
void lower_rows(const GroupMatrix& matrix, const Lowering& lowering, int64_t begin, int64_t count,
                const std::string& where, std::byte* out);

}  // namespace lowbit
