// What a squared error of each weight counts.
#pragma once

#include "encoding/encoding.h"

namespace lowbit {

/// Weights of the squared errors of one block, > 0 and at most 1. x[block] has magnitudes near 1; importance[block] is
/// the mean squared activation of each weight's input channel, or nullptr. A block (or a weight) without importance
/// still gets a small weight, so that it is rounded sensibly.
void block_weights(const Encoding& encoding, const float* x, const float* importance, float* out);

}  // namespace lowbit
