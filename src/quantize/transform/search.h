// Which folding a layer gets: what the methods propose, tried on calibration inputs.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/layer_pass.h"
#include "quantize/transform/folding.h"

namespace lowbit {

enum class Transform : uint8_t { None, Awq, SmoothQuant };

/// none, awq or smoothquant. Throws Error for another.
Transform transform_named(std::string_view name);
std::string_view transform_name(Transform transform);

struct TransformOptions {
  Transform kind = Transform::None;
  double migration = 0.5;  ///< of SmoothQuant: how much of the activations' range goes into the weights
};

/// What the search asks of whoever will round the matrices.
class RoundingPreview {
 public:
  virtual ~RoundingPreview() = default;
  /// Whether the matrix is to be rounded; otherwise it stays as it is.
  virtual bool rounds(const WeightId& id) const = 0;
  /// Rows of the matrix in the output.
  virtual int64_t rows(const WeightId& id) const = 0;
  /// The original weights of `count` rows, in the output's order of rows: [count * cols].
  virtual std::vector<float> weights(const WeightId& id, int64_t first, int64_t count) = 0;
  /// For each row in Hugging Face's order, its row in the output; empty: the same.
  virtual std::vector<int64_t> hf_order(const WeightId& id) const = 0;
  /// Replaces weights by what a reader would decode if they were rounded to the nearest codes. importance[cols].
  virtual void preview(const WeightId& id, std::vector<float>& weights, int64_t rows,
                       const std::vector<float>& importance) const = 0;
  /// What a weight of this id is stored as when it is not rounded.
  virtual const Encoding& dense(const WeightId& id) const = 0;
};

/// The folding of one layer. `pass` holds tokens and x, the layer's inputs; it is left changed. `layer`: the original
/// weights, given back as they were. AWQ tries a grid of scales for each group of channels and takes those whose
/// rounding changes the block's output least (attention, MLP; the matrix's own for attention output and down), so that
/// nothing is folded where nothing helps. SmoothQuant folds between norms and what reads them.
Folding find_folding(const TransformOptions& options, int index, LayerPass& pass, LayerWeights& layer,
                     RoundingPreview& rounding);

}  // namespace lowbit
