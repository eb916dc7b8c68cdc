// What GPTQ makes of each type: mixed precision weighs types by the error that is left, and GPTQ leaves another share
// of it with each.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "model/transformer.h"
#include "quantize/layerwise/layer_problem.h"
#include "quantize/layerwise/layerwise.h"

namespace lowbit {

/// Gathers the inputs of a layer's matrices as a Tap, then rounds some of their rows both ways.
class GptqShares : public Tap {
 public:
  explicit GptqShares(ThreadPool& pool) : pool_(pool) {}

  void input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) override;
  /// weights [rows, cols], some rows of the matrix. Matrices with more columns than there were tokens are left out:
  /// their H says too little.
  void measure(const WeightId& weight, std::span<const float> weights, std::span<const Encoding* const> encodings);
  /// Of the error ||(W - Q) X||^2 of the nearest codes, what GPTQ and descent leave: the geometric mean over the
  /// matrices that were measured; 1 for an encoding that was not.
  double share(const Encoding& encoding) const;

  /// Bytes that gathering and measuring take at most.
  static uint64_t memory(const ModelConfig& config, int64_t tokens);

 private:
  struct Sum {
    double logs = 0;
    int matrices = 0;
  };

  ThreadPool& pool_;
  LayerwiseOptions options_{.alpha = 0, .beta = 0};
  std::map<Role, LayerProblem> problems_;  // by the first matrix that reads the inputs
  std::map<const Encoding*, Sum> sums_;
};

}  // namespace lowbit
