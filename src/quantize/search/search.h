// Search: which header a block of weights should get. Weights to headers only; which code each weight then takes is
// quantize/assign/'s part, so that methods which choose codes otherwise (column by column, say) share it.
#pragma once

#include "quantize/search/batch.h"

namespace lowbit {

/// Headers of least weighted squared error, as far as found, for the blocks of a batch: out[batch.count].
void search_headers(const BlockBatch& batch, BlockHeader* out);

}  // namespace lowbit
