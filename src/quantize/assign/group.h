// The nearest codes of a group.
#pragma once

#include "quantize/search/group.h"

namespace lowbit {

/// codes[i]: the code whose value is nearest to x[i], for i < count.
void assign_group(const GroupFormat& format, GroupParameters parameters, const float* x, int64_t count, uint8_t* codes);

}  // namespace lowbit
