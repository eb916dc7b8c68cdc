// Blocks made ready for search and assignment: transposed, scaled and weighted.
#pragma once

#include <array>

#include "encoding/encoding.h"
#include "kernel/search.h"

namespace lowbit {

/// Blocks side by side: sub-block s of block b is lane b * encoding.sub_blocks() + s. Each block is multiplied by a
/// power of two (exact) that brings its greatest magnitude near 1, so that 1e30 and 1e-30 are searched alike.
struct BlockBatch {
  const Encoding* encoding;
  int count;          ///< blocks, at most batch_blocks(); further lanes are empty
  LaneFloats factor;  ///< what the weights of a lane were multiplied by
  std::array<float, 16> table;
  LevelSet levels;
  SubBlocks lanes;

  /// The factor of block b.
  float factor_of(int b) const { return factor.lane[b * encoding->sub_blocks()]; }
};

/// How many blocks of an encoding are searched at once.
inline int batch_blocks(const Encoding& encoding) { return kLanes / encoding.sub_blocks(); }

/// Fills a batch with `count` blocks: x[b] and importance[b] point to encoding.block floats. importance is nullptr
/// where there is none, or where it is not needed because the headers are there already.
void gather(const Encoding& encoding, const float* const* x, const float* const* importance, int count,
            BlockBatch& out);

}  // namespace lowbit
