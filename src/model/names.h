// One table: what a tensor is for (Role), and what Hugging Face and GGUF call it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lowbit {

enum class Role : uint8_t {
  TokenEmbedding,
  OutputNorm,
  Output,
  AttentionNorm,
  Q,
  K,
  V,
  AttentionOutput,
  QNorm,
  KNorm,
  FfnNorm,
  Gate,
  Up,
  Down,
  RopeFrequencies,
};

struct WeightId {
  Role role;
  int layer = -1;  ///< -1: not of a layer
  bool bias = false;
  bool operator==(const WeightId&) const = default;
};

std::string hf_name(const WeightId& id);    ///< "model.layers.3.self_attn.q_proj.weight"
std::string gguf_name(const WeightId& id);  ///< "blk.3.attn_q.weight"
std::optional<WeightId> from_hf_name(std::string_view name);
std::optional<WeightId> from_gguf_name(std::string_view name);
/// A matrix that quantization applies to (norms, biases and rotary tables are not).
bool is_matrix(const WeightId& id);

}  // namespace lowbit
