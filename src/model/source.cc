#include "model/source.h"

#include <fmt/ranges.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "container/quantized_store.h"
#include "container/safetensors.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

/// The shape that an architecture's weight must have; empty: the architecture has no such weight.
std::vector<int64_t> expected_shape(const ModelConfig& c, const WeightId& id) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  switch (id.role) {
    case Role::TokenEmbedding:
    case Role::Output:
      return id.bias ? std::vector<int64_t>{} : std::vector{c.vocab, c.hidden};
    case Role::OutputNorm:
    case Role::AttentionNorm:
    case Role::FfnNorm:
      return id.bias ? std::vector<int64_t>{} : std::vector{c.hidden};
    case Role::QNorm:
    case Role::KNorm:
      return id.bias || !c.architecture->qk_norm ? std::vector<int64_t>{} : std::vector{c.head_dim};
    case Role::Q:
      return id.bias ? std::vector{q} : std::vector{q, c.hidden};
    case Role::K:
    case Role::V:
      return id.bias ? std::vector{kv} : std::vector{kv, c.hidden};
    case Role::AttentionOutput:
      return id.bias ? std::vector{c.hidden} : std::vector{c.hidden, q};
    case Role::Gate:
    case Role::Up:
      return id.bias ? std::vector{c.ffn} : std::vector{c.ffn, c.hidden};
    case Role::Down:
      return id.bias ? std::vector{c.hidden} : std::vector{c.hidden, c.ffn};
    case Role::RopeFrequencies:
      return {c.head_dim / 2};
  }
  return {};
}

/// Every weight that the forward pass needs.
std::vector<WeightId> required_weights(const ModelConfig& c) {
  std::vector<WeightId> out = {{Role::TokenEmbedding}, {Role::OutputNorm}};
  if (!c.tied_embeddings) out.push_back({Role::Output});
  for (int i = 0; i < static_cast<int>(c.layers); ++i) {
    for (const Role role : {Role::AttentionNorm, Role::Q, Role::K, Role::V, Role::AttentionOutput, Role::FfnNorm,
                            Role::Gate, Role::Up, Role::Down}) {
      out.push_back({role, i});
    }
    if (c.architecture->qk_norm) out.insert(out.end(), {{Role::QNorm, i}, {Role::KNorm, i}});
    if (c.attention_bias) out.insert(out.end(), {{Role::Q, i, true}, {Role::K, i, true}, {Role::V, i, true}});
    if (c.attention_output_bias) out.push_back({Role::AttentionOutput, i, true});
    if (c.mlp_bias) out.insert(out.end(), {{Role::Gate, i, true}, {Role::Up, i, true}, {Role::Down, i, true}});
  }
  return out;
}

/// Tensors that some checkpoints carry and nobody reads.
bool harmless(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.masked_bias");
}

void check_tensors(const ModelSource& source) {
  const ModelConfig& c = source.config;
  for (const WeightId& id : required_weights(c)) source.store->at(source.name(id));
  for (const TensorInfo& tensor : source.store->tensors()) {
    const auto id = source.is_gguf ? from_gguf_name(tensor.name) : from_hf_name(tensor.name);
    if (!id && harmless(tensor.name)) continue;
    if (!id || id->layer >= c.layers) {
      fail("{}: tensor {} has no place in a {} model of {} layers", source.store->where(), tensor.name,
           c.architecture->hf_class, c.layers);
    }
    const std::vector<int64_t> shape = expected_shape(c, *id);
    if (tensor.shape != shape) {
      fail("{}: tensor {} has shape [{}]; config says [{}]", source.store->where(), tensor.name,
           fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
    }
    if (tensor.encoding->kind == EncodingKind::Raw) {
      fail("{}: tensor {} has type {}, which holds no weights", source.store->where(), tensor.name,
           tensor.encoding->name);
    }
  }
}

bool is_gguf(const fs::path& path) {
  if (path.extension() == ".gguf") return true;
  if (!fs::is_regular_file(path)) return false;
  const MappedFile file(path);
  return file.bytes().size() >= 4 && std::memcmp(file.bytes().data(), "GGUF", 4) == 0;
}

}  // namespace

ModelSource open_model(const fs::path& path) {
  std::error_code code;
  if (!fs::exists(path, code)) fail("{}: there is no such file or directory", path.string());
  ModelSource source;
  source.path = path;
  source.is_gguf = is_gguf(path);
  if (source.is_gguf) {
    auto file = std::make_unique<GgufFile>(path);
    source.config = config_from_gguf(*file);
    source.gguf = &file->metadata();
    source.store = std::move(file);
  } else {
    if (!fs::is_directory(path)) fail("{}: is neither a GGUF file nor a Hugging Face directory", path.string());
    const fs::path config = path / "config.json";
    source.hf_config = parse_json(read_text_file(config), config.string());
    source.config = config_from_hf(source.hf_config, config.string());
    source.config.name = fs::canonical(path).filename().string();
    source.store = std::make_unique<Safetensors>(path);
    const auto quantization = source.hf_config.find("quantization_config");
    if (quantization != source.hf_config.end() && !quantization->is_null()) {
      source.store =
          std::make_unique<QuantizedStore>(std::move(source.store), dialect_of(*quantization, config.string()));
    }
  }
  check_tensors(source);
  return source;
}

}  // namespace lowbit
