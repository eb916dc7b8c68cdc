// From the blocks that grouped weights are lowered to, to blocks of other encodings with the same values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encoding/encoding.h"

namespace lowbit {

/// Encodes `count` weights (a multiple of 32) of a Z encoding, Q4_0 or Q8_0 as `to` (Q4_0, Q4_1, Q5_0 or Q8_0): scales
/// and steps stay as they are. True if every value is equal, bit for bit. A minimum that binary16 cannot hold is
/// rounded; steps beyond the levels of `to` are clamped.
bool recode(const Encoding& from, const std::byte* in, int64_t count, const Encoding& to, std::byte* out);

/// Whether recode() takes this pair.
bool can_recode(const Encoding& from, const Encoding& to);

}  // namespace lowbit
