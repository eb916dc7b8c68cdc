// Sub-blocks that share two binary16 units cannot all have the scale and minimum they want: what they get is chosen
// together, by the error that it makes.
#pragma once

#include "quantize/search/batch.h"

namespace lowbit {

/// Headers for the blocks of a batch whose encoding has integer sub-block scales. `wish`: the scale and minimum that
/// each lane wants. Alternately chooses integers given the units and units given the integers, by least weighted
/// squared error; never worse than the first choice.
void choose_headers(const BlockBatch& batch, const LaneGrid& wish, BlockHeader* out);

}  // namespace lowbit
