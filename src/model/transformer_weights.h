// The weights of a model, packed for the kernels of this machine.
#pragma once

#include <vector>

#include "kernel/packed.h"
#include "model/repack_cache.h"
#include "model/source.h"

namespace lowbit {

/// y = W x + bias.
struct Linear {
  WeightId id{};
  PackedMatrix w;
  /// Column c of w is column columns[c] of the weight: inputs are gathered so before the product. Empty: as it is.
  std::vector<int32_t> columns;
  std::vector<float> bias;  ///< empty: none
  InputRounding inputs{};   ///< as the file asks
};

struct LayerWeights {
  std::vector<float> attention_norm, ffn_norm;
  std::vector<float> q_norm, k_norm;  ///< [head_dim] each; empty: the architecture has none
  Linear q, k, v, attention_output, gate, up, down;
};

/// The matrices of a layer, in the order of a pass.
struct LayerMatrix {
  Role role;
  Linear LayerWeights::*member;
};
inline constexpr LayerMatrix kLayerMatrices[] = {
    {Role::Q, &LayerWeights::q},       {Role::K, &LayerWeights::k},
    {Role::V, &LayerWeights::v},       {Role::AttentionOutput, &LayerWeights::attention_output},
    {Role::Gate, &LayerWeights::gate}, {Role::Up, &LayerWeights::up},
    {Role::Down, &LayerWeights::down}};

struct TransformerWeights {
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;
  Linear output;  ///< the embedding's matrix if the two are tied
  uint64_t bytes = 0;
};

/// Reads and packs the weights of one layer; `bytes` grows by their memory.
LayerWeights load_layer(const ModelSource& source, int layer, ThreadPool& pool, uint64_t& bytes,
                        RepackCache* cache = nullptr);

/// The norm and the matrix that make logits of hidden states, packed; `bytes` grows by their memory.
void load_output(const ModelSource& source, ThreadPool& pool, std::vector<float>& norm, Linear& matrix, uint64_t& bytes,
                 RepackCache* cache = nullptr);

/// Reads and packs every weight but the embedding (unless tied), dropping the source's pages as it goes. Rows of q and
/// k that GGUF keeps in interleaved rotary order come out in Hugging Face's order: the forward pass knows only that
/// one. With a cache, packed matrices come from there or go there.
TransformerWeights load_weights(const ModelSource& source, ThreadPool& pool, RepackCache* cache = nullptr);

/// The bytes that load_weights() will hold. Throws Error for a tensor that no kernel multiplies.
uint64_t weight_memory(const ModelSource& source);

}  // namespace lowbit
