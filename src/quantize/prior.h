// What the weights alone tell of the activations: importance without calibration.
#pragma once

#include "base/thread_pool.h"
#include "quantize/plan.h"

namespace lowbit {

/// Gives the matrices of the plan's layers that are to be quantized, and have no importance yet, an estimate of how
/// strongly each input channel is driven:
///  - after a norm, the magnitude of its weight;
///  - attention output: the norm of the row of V (times the norm before it) that makes the channel;
///  - down projection: the product of the norms of its rows of gate and up.
/// These are root mean squares of activations if the channels before them are alike and independent. Their square would
/// then be the weight of a squared error; they are not alike, and the magnitude itself serves better (docs/quality.md).
/// Reads V, gate and up once. The same for any number of threads.
void estimate_importance(Plan& plan, const ModelSource& source, ThreadPool& pool);

}  // namespace lowbit
