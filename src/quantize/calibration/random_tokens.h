// Importance without a text: what a few random tokens drive.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/calibration/calibrate.h"
#include "quantize/layerwise/layer_stream.h"
#include "quantize/plan.h"

namespace lowbit {

/// 32 tokens, or as many as the context holds, in no order and evenly over the vocabulary (multiples of the golden
/// ratio): frequent and rare ones alike, for tokenizers number them by frequency. Always the same.
std::vector<int32_t> random_tokens(const ModelConfig& config);

/// What each matrix sees as inputs in the original model over random_tokens(). That these make no sense matters little:
/// which channels are strong is a property of the model far more than of the text (docs/quality.md). Needs no data and
/// no tokenizer, one layer's memory, and the time to read the layers once. The same for any number of threads.
class RandomTokens {
 public:
  /// `source` and `pool` must outlive this.
  RandomTokens(const ModelSource& source, ThreadPool& pool);

  /// Mean squares of a matrix's input channels; empty where they are not finite, for then some weight is damaged, which
  /// is told of when its own tensor is read. `matrix` is one of a layer's; layers up to it run now if they have not
  /// yet.
  std::vector<float> importance(const WeightId& matrix);

 private:
  void run_next_layer();

  const ModelSource& source_;
  ThreadPool& pool_;
  std::optional<LayerStream> stream_;
  int next_ = 0;  // layer
  SquareSums sums_;
};

/// Whether any matrix of the plan's layers is to be quantized, and has no importance yet.
bool wants_random_tokens(const Plan& plan);

/// Gives those matrices what the tokens tell. Progress on standard error.
void estimate_importance(Plan& plan, RandomTokens& tokens);

}  // namespace lowbit
