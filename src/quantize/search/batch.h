// Blocks made ready for search and assignment: scaled, weighted and transposed.
#pragma once

#include <array>

#include "encoding/encoding.h"
#include "kernel/search.h"

namespace lowbit {

/// Blocks side by side: sub-block s of block b is lane b * encoding.sub_blocks() + s. Each block is multiplied by a
/// power of two (exact) that brings its greatest magnitude near 1, so that 1e30 and 1e-30 are searched alike.
struct BlockBatch {
  const Encoding* encoding;
  int count;                           ///< blocks, at most batch_blocks()
  std::array<float, kLanes> to, from;  ///< per block: into the batch's unit, and back
  std::array<bool, kLanes> zero;       ///< per block: all weights are 0
  SubBlocks lanes;
};

/// How many blocks of an encoding are searched at once.
inline int batch_blocks(const Encoding& encoding) { return kLanes / encoding.sub_blocks(); }

/// The levels of an encoding as the kernels take them.
LevelSet level_set(const Encoding& encoding, std::array<float, 16>& table);

/// Fills a batch with `count` blocks: x[b] and importance[b] point to encoding.block floats; importance may be nullptr.
/// What an error of each weight counts: see block_weights().
void gather(const Encoding& encoding, const float* const* x, const float* const* importance, int count,
            BlockBatch& out);

/// A grid in the batch's unit, for the lanes of block b.
void set_grid(const BlockBatch& batch, int b, const BlockGrid& grid, LaneGrid& out);

}  // namespace lowbit
