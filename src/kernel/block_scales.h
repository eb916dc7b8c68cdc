// Activations with fewer scales, as llama.cpp and W8A8 files round them.
#pragma once

#include <cstdint>

#include "kernel/layout.h"

namespace lowbit {

/// As Kernels::quantize_row, but `block` columns (a multiple of kTileCols, or all) share one scale. llama.cpp
/// multiplies its types of 256-weight blocks with activations that have one scale in 256 columns, and files with 8-bit
/// activations ask for one scale a token. A large activation then costs its neighbours their precision.
void quantize_row_in_blocks(const float* x, int64_t cols, int64_t block, ActivationTile* out, int64_t stride);

}  // namespace lowbit
