// Calibration text that nothing was calibrated on.
#pragma once

#include <span>

#include "quantize/calibration/text.h"

namespace lowbit {

/// Samples of the texts of `options` that share no run of 16 tokens with any of `used`, evenly spread, at most
/// options.samples of them. Where fewer than four are left (all of a short text was used), samples of all of the text,
/// with a note that says so.
CalibrationTokens held_out_tokens(const ModelConfig& model, const Tokenizer& tokenizer,
                                  const CalibrationOptions& options, std::span<const std::vector<int32_t>> used);

}  // namespace lowbit
