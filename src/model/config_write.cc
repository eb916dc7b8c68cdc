// ModelConfig to the metadata of either container.
#include "model/config.h"

namespace lowbit {

void config_to_gguf(const ModelConfig& c, GgufMetadata& out) {
  const std::string name(c.architecture->gguf_name);
  const auto set_int = [&](const char* key, int64_t value) { out.set(name + "." + key, static_cast<uint32_t>(value)); };
  const auto set_float = [&](const char* key, double value) { out.set(name + "." + key, static_cast<float>(value)); };
  out.set("general.architecture", name);
  out.set("general.type", std::string("model"));
  if (!c.name.empty()) out.set("general.name", c.name);
  set_int("block_count", c.layers);
  set_int("context_length", c.context);
  set_int("embedding_length", c.hidden);
  set_int("feed_forward_length", c.ffn);
  set_int("attention.head_count", c.heads);
  set_int("attention.head_count_kv", c.kv_heads);
  if (c.rope.type == RopeScaling::Type::Linear) {
    out.set(name + ".rope.scaling.type", std::string("linear"));
    set_float("rope.scaling.factor", c.rope.factor);
  }
  set_float("rope.freq_base", c.rope_theta);
  set_float("attention.layer_norm_rms_epsilon", c.rms_eps);
  if (c.explicit_head_dim) {
    set_int("attention.key_length", c.head_dim);
    set_int("attention.value_length", c.head_dim);
  }
  if (c.architecture->rope_interleaved_in_gguf) {
    set_int("vocab_size", c.vocab);
    set_int("rope.dimension_count", c.head_dim);
  }
  // llama.cpp has no key for Mistral's window in this architecture; ours keeps the model exact when it comes back.
  if (c.sliding_window > 0) set_int("attention.sliding_window", c.sliding_window);
}

Json config_to_hf(const ModelConfig& c) {
  Json out = {{"architectures", Json::array({c.architecture->hf_class})},
              {"model_type", c.architecture->hf_type},
              {"hidden_act", "silu"},
              {"hidden_size", c.hidden},
              {"intermediate_size", c.ffn},
              {"num_hidden_layers", c.layers},
              {"num_attention_heads", c.heads},
              {"num_key_value_heads", c.kv_heads},
              {"head_dim", c.head_dim},
              {"rms_norm_eps", c.rms_eps},
              {"rope_theta", c.rope_theta},
              {"rope_scaling", nullptr},
              {"max_position_embeddings", c.context},
              {"vocab_size", c.vocab},
              {"tie_word_embeddings", c.tied_embeddings},
              {"torch_dtype", c.torch_dtype.empty() ? "float32" : c.torch_dtype}};
  if (!c.architecture->qkv_bias) out["attention_bias"] = c.attention_bias;
  if (c.architecture->hf_type == "llama") out["mlp_bias"] = c.mlp_bias;
  if (c.architecture->hf_type == "mistral") {
    out["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json(nullptr);
  }
  if (c.rope.type == RopeScaling::Type::Linear) {
    out["rope_scaling"] = {{"rope_type", "linear"}, {"factor", c.rope.factor}};
  } else if (c.rope.type == RopeScaling::Type::Llama3) {
    out["rope_scaling"] = {{"rope_type", "llama3"},
                           {"factor", c.rope.factor},
                           {"low_freq_factor", c.rope.low_freq_factor},
                           {"high_freq_factor", c.rope.high_freq_factor},
                           {"original_max_position_embeddings", c.rope.original_context}};
  }
  return out;
}

}  // namespace lowbit
