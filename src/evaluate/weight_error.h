// How far the weights of a quantized model are from the original's, tensor by tensor.
#pragma once

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/source.h"

namespace lowbit {

struct WeightError {
  std::string tensor;    ///< Hugging Face's name
  std::string encoding;  ///< in the quantized model
  double error;          ///< ||W - Q||^2 / ||W||^2; 0 for a tensor of zeros that is kept
};

/// Compares every tensor that both models have. A model into which a transform was folded has other weights by
/// design: its errors tell nothing. Decodes all of both models, a few rows at a time; the same for any number of
/// threads. Throws Error for models of different shapes and for values that are not finite.
std::vector<WeightError> weight_errors(const ModelSource& original, const ModelSource& quantized, ThreadPool& pool);

}  // namespace lowbit
