// The nearest code for each weight.
#pragma once

#include "quantize/search/batch.h"

namespace lowbit {

/// codes[b * encoding.block + i]: the nearest code of weight i of block b on the exact grid of headers[b]. Room for
/// kLanes * kMaxSubBlock codes is needed whatever the number of blocks.
void assign_nearest(const BlockBatch& batch, const BlockHeader* headers, uint8_t* codes);

}  // namespace lowbit
