// Rounding from calibration inputs, layer by layer: each matrix sees the inputs that it will meet in the quantized
// model, and is rounded by GPTQ so that its product with them stays close to the original model's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "container/gguf.h"
#include "quantize/plan.h"

namespace lowbit {

struct LayerwiseOptions {
  double damping = 0.01;  ///< of the mean of H's diagonal, added to it
  /// The inputs that a matrix's product is compared on: 0 = the quantized model's, 1 = the original's against those.
  double alpha = 0.5;
  /// How much of the error in the residual stream attention output and down projection are asked to cancel.
  double beta = 0.5;
  int sweeps = 2;  ///< of coordinate descent after GPTQ
};

/// What became of one matrix.
struct MatrixReport {
  std::string tensor;
  const Encoding* encoding;
  double error;    ///< ||(W - Q) X||^2 / ||W X||^2 over the calibration inputs X of the quantized model
  double damping;  ///< that was needed
  bool fell_back;  ///< H could not be factored: the nearest codes were taken
  double seconds;
};

/// Memory that write_layerwise() will need beyond the program itself, in bytes: hidden states of both models, one
/// layer's weights, and the statistics of its widest matrix.
uint64_t layerwise_memory(const ModelSource& source, const Plan& plan, int64_t tokens);

/// Rounds and writes the tensors that the plan left to it. `tokens` are calibration sequences of `length` tokens each,
/// one after another. The bytes do not depend on the number of threads. Throws Error for inputs that are not finite.
std::vector<MatrixReport> write_layerwise(const Plan& plan, const ModelSource& source, std::span<const int32_t> tokens,
                                          int64_t length, const LayerwiseOptions& options, TensorWriter& writer,
                                          ThreadPool& pool);

}  // namespace lowbit
