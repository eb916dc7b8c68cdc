// Folding: channels between two weights of a layer are divided by a factor where they are made and multiplied where
// they are read, so that the layer computes what it did, on numbers that are easier to quantize.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/names.h"

namespace lowbit {

/// What the channels inside one layer are divided by; a vector is empty where nothing is folded.
struct Folding {
  std::vector<float> attention;  ///< [hidden], between the attention norm and q, k, v
  std::vector<float> value;      ///< [kv_heads * head_dim], between v and the attention's output matrix
  std::vector<float> ffn;        ///< [hidden], between the norm before the MLP and gate, up
  std::vector<float> inner;      ///< [ffn], between up and down
};

/// Whether a folding changes a weight that is no matrix: the two norms, the biases of v and up.
bool is_folded_vector(const WeightId& id);

/// What the inputs of a matrix are divided by, one factor a column; empty: nothing. Every query head reads the channels
/// of its key/value head, so that factors of `value` repeat.
std::vector<float> input_factors(const Folding& folding, const ModelConfig& config, Role role);

/// Changes a weight of the layer, row-major [rows, cols] (a vector has one row), as the folding asks.
void fold(const Folding& folding, const ModelConfig& config, const WeightId& id, int64_t cols,
          std::vector<float>& values);

/// `values` [kv_heads * head_dim] for each channel that the attention's output matrix reads: [heads * head_dim].
std::vector<float> spread_over_heads(const std::vector<float>& values, const ModelConfig& config);

}  // namespace lowbit
