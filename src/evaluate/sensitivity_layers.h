// Which layers of a model have their sensitivity measured.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "model/config.h"

namespace lowbit {

/// All layers of a small model; of a large one as many, evenly spread, as keep the work within bounds: the first and
/// last are always among them. Each changed layer costs a pass through all layers above it.
class MeasuredLayers {
 public:
  /// `tokens` are what each changed model computes.
  MeasuredLayers(const ModelConfig& config, int64_t tokens);

  bool measured(int layer) const { return measured_[static_cast<size_t>(layer)]; }
  /// The nearest measured layers below and above one that is not measured.
  std::pair<int, int> neighbours(int layer) const;
  /// Passes through single layers, by changed models.
  uint64_t work() const;
  int64_t count() const;

 private:
  std::vector<bool> measured_;
};

}  // namespace lowbit
