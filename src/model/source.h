// A model as found on disk: tensors, shape and tokenizer, whether it is a Hugging Face directory or a GGUF file.
#pragma once

#include <filesystem>
#include <memory>

#include "container/tensor_store.h"
#include "model/config.h"
#include "model/names.h"
#include "text/tokenizer.h"

namespace lowbit {

struct ModelSource {
  std::filesystem::path path;
  bool is_gguf = false;
  std::unique_ptr<TensorStore> store;
  const GgufMetadata* gguf = nullptr;  ///< the file's metadata if is_gguf
  Json hf_config;                      ///< config.json otherwise
  ModelConfig config;

  /// This source's name of a weight.
  std::string name(const WeightId& id) const { return is_gguf ? gguf_name(id) : hf_name(id); }
  const TensorInfo* find(const WeightId& id) const { return store->find(name(id)); }
};

/// Opens a MODEL argument of the command line. Every tensor that the architecture needs is there with the right shape,
/// and unknown ones are named: anything else throws Error.
ModelSource open_model(const std::filesystem::path& path);
/// The tokenizer of a model.
TokenizerData read_tokenizer(const ModelSource& source);
/// The tokenizer alone: the model may have no weights, or an architecture that lowbit does not run.
TokenizerData read_tokenizer(const std::filesystem::path& path);

}  // namespace lowbit
