#include "model/config.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace lowbit {
namespace {

constexpr Architecture kArchitectures[] = {
    // GGUF, Hugging Face class, model_type, rope interleaved in GGUF, q/k/v bias, q/k norm
    {"llama", "LlamaForCausalLM", "llama", true, false, false},
    {"llama", "MistralForCausalLM", "mistral", true, false, false},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", false, true, false},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", false, false, true},
};

std::string known_names() {
  std::string out;
  for (const Architecture& a : kArchitectures) out += (out.empty() ? "" : ", ") + std::string(a.hf_type);
  return out;
}

int64_t in_range(int64_t value, int64_t least, int64_t most, std::string_view what, std::string_view where) {
  if (value < least || value > most) fail("{}: {} is {}; it should be from {} to {}", where, what, value, least, most);
  return value;
}

double positive(double value, std::string_view what, std::string_view where) {
  if (!std::isfinite(value) || value <= 0) fail("{}: {} is {}; it should be a positive number", where, what, value);
  return value;
}

/// What no source may say, whatever it is.
void check(const ModelConfig& c, std::string_view where) {
  constexpr int64_t kLimit = int64_t{1} << 24;
  in_range(c.hidden, 1, kLimit, "the hidden size", where);
  in_range(c.layers, 1, 10'000, "the number of layers", where);
  in_range(c.heads, 1, 65'536, "the number of heads", where);
  in_range(c.kv_heads, 1, c.heads, "the number of key/value heads", where);
  in_range(c.head_dim, 2, 65'536, "the head dimension", where);
  in_range(c.ffn, 1, kLimit, "the feed-forward size", where);
  in_range(c.vocab, 1, kLimit, "the vocabulary size", where);
  in_range(c.context, 1, int64_t{1} << 32, "the context length", where);
  in_range(c.sliding_window, 0, int64_t{1} << 32, "the sliding window", where);
  if (c.heads % c.kv_heads != 0) {
    fail("{}: {} heads cannot share {} key/value heads evenly", where, c.heads, c.kv_heads);
  }
  if (c.head_dim % 2 != 0) fail("{}: the head dimension {} is odd, and cannot be rotated", where, c.head_dim);
  positive(c.rms_eps, "the epsilon of RMS norms", where);
  positive(c.rope_theta, "rope_theta", where);
}

const Architecture& architecture_of(const Json& config, std::string_view where) {
  const std::string type = json_or<std::string>(config, "model_type", "", where);
  std::string name;
  const auto list = config.find("architectures");
  if (list != config.end() && list->is_array() && !list->empty() && (*list)[0].is_string()) name = (*list)[0];
  for (const Architecture& a : kArchitectures) {
    if (name == a.hf_class || (name.empty() && type == a.hf_type)) return a;
  }
  fail("{}: architecture {} is not supported; known are {}", where, name.empty() ? "\"" + type + "\"" : name,
       known_names());
}

/// Fields whose presence means a model that the forward pass would compute wrongly.
void refuse_unsupported(const Json& config, const Architecture& a, std::string_view where) {
  const std::string act = json_or<std::string>(config, "hidden_act", "silu", where);
  if (act != "silu" && act != "swish") fail("{}: \"hidden_act\" is {}; only silu is supported", where, act);
  if (json_or<bool>(config, "use_sliding_window", false, where)) {
    fail("{}: \"use_sliding_window\" is true: a window in some layers only is not supported", where);
  }
  if (json_or<double>(config, "partial_rotary_factor", 1, where) != 1) {
    fail("{}: \"partial_rotary_factor\" is not supported for {}", where, a.hf_class);
  }
  for (const char* field : {"num_local_experts", "num_experts", "attn_logit_softcapping", "final_logit_softcapping"}) {
    if (config.contains(field) && !config[field].is_null()) fail("{}: \"{}\" is not supported", where, field);
  }
}

/// rope_scaling (transformers 4) or rope_parameters (5), which also holds rope_theta.
void read_rope(const Json& config, ModelConfig& c, std::string_view where) {
  c.rope_theta = json_or<double>(config, "rope_theta", 10000, where);
  const char* const key = config.contains("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return;
  const std::string place = std::string(where) + ", " + key;
  c.rope_theta = json_or<double>(*found, "rope_theta", c.rope_theta, place);
  const std::string type =
      json_or<std::string>(*found, "rope_type", json_or<std::string>(*found, "type", "default", place), place);
  if (type == "default") return;
  c.rope.factor = positive(json_at<double>(*found, "factor", place), "\"factor\"", place);
  if (type == "linear") {
    c.rope.type = RopeScaling::Type::Linear;
    return;
  }
  if (type != "llama3") fail("{}: \"rope_type\" {} is not supported; known are default, linear, llama3", place, type);
  c.rope.type = RopeScaling::Type::Llama3;
  c.rope.low_freq_factor = positive(json_at<double>(*found, "low_freq_factor", place), "\"low_freq_factor\"", place);
  c.rope.high_freq_factor = positive(json_at<double>(*found, "high_freq_factor", place), "\"high_freq_factor\"", place);
  c.rope.original_context = in_range(json_at<int64_t>(*found, "original_max_position_embeddings", place), 1,
                                     int64_t{1} << 32, "\"original_max_position_embeddings\"", place);
  if (c.rope.high_freq_factor <= c.rope.low_freq_factor) {
    fail("{}: \"high_freq_factor\" should be greater than \"low_freq_factor\"", place);
  }
}

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

ModelConfig config_from_hf(const Json& config, std::string_view where) {
  if (!config.is_object()) fail("{}: should be a JSON object", where);
  const auto integer = [&](const char* key, int64_t otherwise) {
    return json_or<int64_t>(config, key, otherwise, where);
  };
  ModelConfig c;
  c.architecture = &architecture_of(config, where);
  refuse_unsupported(config, *c.architecture, where);
  c.hidden = json_at<int64_t>(config, "hidden_size", where);
  c.layers = json_at<int64_t>(config, "num_hidden_layers", where);
  c.heads =
      in_range(json_at<int64_t>(config, "num_attention_heads", where), 1, 65'536, "\"num_attention_heads\"", where);
  c.kv_heads = integer("num_key_value_heads", c.heads);
  c.head_dim = integer("head_dim", c.hidden / c.heads);
  c.explicit_head_dim = config.contains("head_dim") && !config["head_dim"].is_null();
  c.ffn = json_at<int64_t>(config, "intermediate_size", where);
  c.vocab = json_at<int64_t>(config, "vocab_size", where);
  c.context = integer("max_position_embeddings", 2048);
  c.rms_eps = json_or<double>(config, "rms_norm_eps", 1e-6, where);
  // Mistral's own default is a window of 4096; null says that there is none. Qwen's field means nothing by itself.
  if (c.architecture->hf_type == "mistral") {
    c.sliding_window = config.contains("sliding_window") ? integer("sliding_window", 0) : 4096;
  }
  c.tied_embeddings = json_or<bool>(config, "tie_word_embeddings", false, where);
  const bool bias = json_or<bool>(config, "attention_bias", false, where);
  c.attention_bias = bias || c.architecture->qkv_bias;
  c.attention_output_bias = bias;
  c.mlp_bias = json_or<bool>(config, "mlp_bias", false, where);
  c.torch_dtype = json_or<std::string>(config, "dtype", json_or<std::string>(config, "torch_dtype", "", where), where);
  read_rope(config, c, where);
  check(c, where);
  return c;
}

ModelConfig config_from_gguf(const GgufFile& file) {
  const GgufMetadata& m = file.metadata();
  const std::string name = m.string_at("general.architecture");
  ModelConfig c;
  for (const Architecture& a : kArchitectures) {
    if (c.architecture == nullptr && a.gguf_name == name) c.architecture = &a;
  }
  if (c.architecture == nullptr)
    fail("{}: architecture {} is not supported; known are {}", m.where, name, known_names());
  const auto key = [&](std::string_view suffix) { return name + "." + std::string(suffix); };
  c.hidden = m.int_at(key("embedding_length"));
  c.layers = m.int_at(key("block_count"));
  c.heads = in_range(m.int_at(key("attention.head_count")), 1, 65'536, key("attention.head_count"), m.where);
  c.kv_heads = m.int_or(key("attention.head_count_kv"), c.heads);
  c.head_dim = m.int_or(key("attention.key_length"), c.hidden / c.heads);
  c.explicit_head_dim = m.find(key("attention.key_length")) != nullptr;
  c.ffn = m.int_at(key("feed_forward_length"));
  c.context = m.int_at(key("context_length"));
  c.rms_eps = m.float_at(key("attention.layer_norm_rms_epsilon"));
  c.rope_theta = m.float_or(key("rope.freq_base"), 10000);
  c.sliding_window = m.int_or(key("attention.sliding_window"), 0);
  if (m.int_or(key("rope.dimension_count"), c.head_dim) != c.head_dim ||
      m.int_or(key("attention.value_length"), c.head_dim) != c.head_dim) {
    fail("{}: keys, values and rotations of different lengths are not supported", m.where);
  }
  if (m.int_or(key("expert_count"), 0) > 0)
    fail("{}: {} is set: experts are not supported", m.where, key("expert_count"));
  if (c.sliding_window > 0) {  // Mistral shares GGUF's "llama"; its window tells them apart
    for (const Architecture& a : kArchitectures) {
      if (a.gguf_name == name && a.hf_type == "mistral") c.architecture = &a;
    }
  }
  const std::string scaling = m.string_or(key("rope.scaling.type"), "none");
  if (scaling == "linear") {
    c.rope.type = RopeScaling::Type::Linear;
    c.rope.factor = positive(m.float_at(key("rope.scaling.factor")), key("rope.scaling.factor"), m.where);
  } else if (scaling != "none") {
    fail("{}: {} is {}; known are none and linear", m.where, key("rope.scaling.type"), scaling);
  }
  if (const TensorInfo* factors = file.find("rope_freqs.weight")) {
    if (factors->elements() != c.head_dim / 2 || factors->encoding->kind != EncodingKind::Float) {
      fail("{}: tensor rope_freqs.weight should hold {} floats", m.where, c.head_dim / 2);
    }
    c.rope.factors.resize(static_cast<size_t>(c.head_dim / 2));
    read_rows(file, *factors, 0, 1, c.rope.factors.data());
  }
  const TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr) fail("{}: tensor token_embd.weight is missing", m.where);
  c.vocab = embedding->rows();
  c.tied_embeddings = file.find("output.weight") == nullptr;
  c.attention_bias = file.find("blk.0.attn_q.bias") != nullptr;
  c.attention_output_bias = file.find("blk.0.attn_output.bias") != nullptr;
  c.mlp_bias = file.find("blk.0.ffn_down.bias") != nullptr;
  c.name = m.string_or("general.name", "");
  check(c, m.where);
  return c;
}

}  // namespace lowbit
