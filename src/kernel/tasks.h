// How products of packed matrices with prepared activations are shared out over threads.
#pragma once

#include <cstdint>

#include "kernel/kernels.h"

namespace lowbit {

/// Ranges of panels by ranges of tokens, a task each: task i takes the panels of range i / token_ranges and the tokens
/// of range i % token_ranges. The last range of each kind may be smaller.
struct Tasks {
  int64_t panels, panel_ranges;  ///< of a task; in all
  int64_t tokens, token_ranges;

  int64_t count() const { return panel_ranges * token_ranges; }
};

/// The products of `panels` panels (of one matrix, or of several in a row) with `tokens` tokens.
Tasks share_out(int64_t panels, int64_t tokens, int threads);

/// Bytes of one token's prepared activations.
int64_t activation_bytes(bool floats, int64_t cols);

/// Tokens [first, last) of prepared activations; `first` begins a range of share_out().
ActivationView tokens_of(const Activations& x, int64_t first, int64_t last);

}  // namespace lowbit
