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

/// The products of `panels` panels (of one matrix, or of several together) with `tokens` tokens.
Tasks share_out(int64_t panels, int64_t tokens, int threads);

struct PanelRange {
  int64_t begin, end;  ///< empty if begin >= end
};

/// What the tasks of range `range` take of one of several matrices that are multiplied together: of the one of `panels`
/// panels that has `before` panels before it. Few tokens are bound by memory, so each range takes the same part of each
/// matrix: that part was packed by the same worker, into memory that is near it (see ThreadPool). Many are bound by
/// arithmetic, and long runs of panels serve it best.
PanelRange panels_of(const Tasks& tasks, int64_t range, int64_t before, int64_t panels);

/// Bytes of one token's prepared activations.
int64_t activation_bytes(ActivationForm form, int64_t cols);

/// Tokens [first, last) of prepared activations; `first` begins a range of share_out().
ActivationView tokens_of(const Activations& x, int64_t first, int64_t last);

}  // namespace lowbit
