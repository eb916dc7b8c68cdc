#include "quantize/export_hf.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "container/safetensors.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

const Encoding* stored_as(const OutputTensor& tensor, const Encoding* type) {
  const Encoding* own = tensor.source->encoding;
  if (type != nullptr && is_matrix(tensor.id)) return type;
  return own->kind == EncodingKind::Float ? own : &encoding(EncodingId::F16);
}

std::string_view dtype_name(EncodingId id) {
  switch (id) {
    case EncodingId::F16:
      return "float16";
    case EncodingId::BF16:
      return "bfloat16";
    default:
      return "float32";
  }
}

/// Llama 3's scaling is four numbers in config.json, but a list of divisors in GGUF. Its published models all share
/// three of the four; the fourth is the greatest divisor. Anything else is refused rather than guessed.
void recover_rope_scaling(ModelConfig& config, const std::string& where) {
  const std::vector<float> factors = config.rope.factors;
  if (factors.empty()) return;
  config.rope = {RopeScaling::Type::Llama3, *std::max_element(factors.begin(), factors.end()), 1, 4, 8192, {}};
  const std::vector<float> again = rope_factors(config);
  for (size_t i = 0; i < factors.size(); ++i) {
    if (std::abs(again[i] - factors[i]) > 1e-4F * factors[i]) {
      fail("{}: tensor rope_freqs.weight is no Llama 3 scaling that config.json could name", where);
    }
  }
}

Json generation_config(const TokenizerData& tokenizer) {
  Json out = Json::object();
  if (tokenizer.bos) out["bos_token_id"] = *tokenizer.bos;
  if (tokenizer.end_of_generation.size() > 1) {
    out["eos_token_id"] = tokenizer.end_of_generation;
  } else if (tokenizer.eos) {
    out["eos_token_id"] = *tokenizer.eos;
  }
  if (tokenizer.pad) out["pad_token_id"] = *tokenizer.pad;
  return out;
}

}  // namespace

Json hf_config_of(const ModelSource& source) {
  ModelConfig config = source.config;
  recover_rope_scaling(config, source.store->where());
  Json json = config_to_hf(config);
  const Json generation = generation_config(read_tokenizer(source));
  for (const auto& [key, value] : generation.items()) json[key] = value;
  return json;
}

uint64_t export_hf(const ModelSource& source, const fs::path& folder, const Encoding* type, ThreadPool& pool) {
  const TokenizerData tokenizer = read_tokenizer(source);
  Json json = hf_config_of(source);
  std::string torch_dtype;

  std::vector<PlannedTensor> tensors;
  uint64_t bytes = 0;
  for (OutputTensor& tensor : hf_tensors(source)) {
    PlannedTensor planned;
    planned.encoding = planned.wanted = stored_as(tensor, type);
    planned.bytes = planned.encoding->bytes(static_cast<uint64_t>(tensor.elements()));
    if (tensor.id.role == Role::TokenEmbedding) torch_dtype = dtype_name(planned.encoding->id);
    planned.tensor = std::move(tensor);
    bytes += planned.bytes;
    tensors.push_back(std::move(planned));
  }
  fs::create_directories(folder);
  SafetensorsWriter writer(folder, output_infos(tensors));
  write_tensors(tensors, *source.store, writer, "converting", pool);
  writer.finish();
  write_hf_tokenizer(tokenizer, folder);
  write_text_file(folder / "generation_config.json", generation_config(tokenizer).dump(2) + "\n");
  json["torch_dtype"] = torch_dtype;
  write_text_file(folder / "config.json", json.dump(2) + "\n");
  return bytes;
}

}  // namespace lowbit
