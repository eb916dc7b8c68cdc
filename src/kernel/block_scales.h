// Activations with fewer scales, as llama.cpp and W8A8 files round them.
#pragma once

#include <cstdint>

#include "kernel/kernels.h"

namespace lowbit {

/// As Kernels::quantize_row, but `block` columns (a multiple of kTileCols, or all) share one scale. llama.cpp
/// multiplies its types of 256-weight blocks with activations that have one scale in 256 columns, and files with 8-bit
/// activations ask for one scale a token. A large activation then costs its neighbours their precision.
void quantize_row_in_blocks(const float* x, int64_t cols, int64_t block, ActivationTile* out, int64_t stride);

/// The same on a scale that is given: codes are the nearest of [-127, 127]; a NaN shows in the result.
void quantize_row_on_scale(const float* x, int64_t cols, float scale, ActivationTile* out, int64_t stride);

/// As prepare() for codes, with all activations on this scale.
void prepare_on_scale(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out,
                      ThreadPool& pool, float scale);

}  // namespace lowbit
