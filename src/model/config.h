// A model's shape and the facts of its architecture, whatever file they came from.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "container/gguf.h"

namespace lowbit {

/// One row per architecture: all that distinguishes it. The forward pass reads these, never a name.
/// (Room for later: expert counts, fused tensors, soft-capping and sandwich norms are further columns.)
struct Architecture {
  std::string_view gguf_name;     ///< general.architecture: "llama", "qwen2", "qwen3"
  std::string_view hf_class;      ///< "LlamaForCausalLM"
  std::string_view hf_type;       ///< config.json model_type
  bool rope_interleaved_in_gguf;  ///< GGUF stores q/k rows permuted for interleaved rotation
  bool qkv_bias;                  ///< q, k, v always have biases
  bool qk_norm;                   ///< RMS norm over each head of q and k
};
std::span<const Architecture> architectures();

struct RopeScaling {
  enum class Type { None, Linear, Llama3, Yarn } type = Type::None;
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  int64_t original_context = 0;
  std::vector<float> factors;  ///< GGUF's rope_freqs tensor [head_dim / 2]: what frequencies are divided by
};

struct ModelConfig {
  const Architecture* architecture = nullptr;
  int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0, context = 0;
  bool explicit_head_dim = false;  ///< the source names head_dim; otherwise it is hidden / heads
  double rms_eps = 0, rope_theta = 10000;
  RopeScaling rope;
  int64_t sliding_window = 0;  ///< 0: none
  bool tied_embeddings = false;
  bool attention_bias = false, attention_output_bias = false, mlp_bias = false;
  std::string torch_dtype;  ///< "bfloat16" ...: what the original was stored in
  std::string name;         ///< for GGUF's general.name
};

/// From config.json's object / from GGUF metadata (tensor presence decides what metadata does not say).
/// Throw Error naming the unsupported architecture or the bad field.
ModelConfig config_from_hf(const Json& config, std::string_view where);
ModelConfig config_from_gguf(const GgufFile& file);
/// The reverse: all keys that llama.cpp's converter writes for this architecture / a config.json for transformers.
void config_to_gguf(const ModelConfig& config, GgufMetadata& out);
Json config_to_hf(const ModelConfig& config);

/// cos/sin frequencies of rotary pair i (radians per position), scaling applied: [head_dim / 2].
std::vector<double> rope_frequencies(const ModelConfig& config);

/// What GGUF's rope_freqs.weight holds for Llama 3's scaling, in the converter's binary32 arithmetic: [head_dim / 2].
/// Empty where the model needs none.
std::vector<float> rope_factors(const ModelConfig& config);

}  // namespace lowbit
