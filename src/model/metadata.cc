#include "model/metadata.h"

#include "model/tokenizer_gguf.h"

namespace lowbit {

GgufMetadata gguf_metadata(const ModelSource& source) {
  GgufMetadata out;
  if (source.is_gguf) {
    for (const auto& [key, value] : source.gguf->entries()) {
      if (!key.starts_with("split.")) out.set(key, value);
    }
    return out;
  }
  config_to_gguf(source.config, out);
  tokenizer_to_gguf(read_tokenizer(source), out);
  // As llama.cpp's converter does: this vocabulary size is taken for Granite's, whose tokenizer adds no BOS.
  if (source.config.architecture->gguf_name == "llama" && source.config.vocab == 49152) {
    out.set("tokenizer.ggml.add_bos_token", false);
  }
  return out;
}

}  // namespace lowbit
