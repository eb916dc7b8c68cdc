// Activations with fewer scales, as llama.cpp rounds them.
#pragma once

#include <cstdint>

#include "kernel/layout.h"

namespace lowbit {

/// As Kernels::quantize_row, but `block` columns (a multiple of kTileCols) share one scale: llama.cpp multiplies its
/// types of 256-weight blocks with activations that have one scale in 256 columns. A large activation then costs its
/// 255 neighbours their precision, so this is only for comparing figures. cols is a multiple of `block`.
void quantize_row_in_blocks(const float* x, int64_t cols, int block, ActivationTile* out, int64_t stride);

}  // namespace lowbit
