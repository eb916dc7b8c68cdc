#include "model/source.h"
#include "model/tokenizer_gguf.h"

namespace lowbit {

TokenizerData read_tokenizer(const ModelSource& source) {
  if (source.is_gguf) return tokenizer_from_gguf(*source.gguf);
  return read_hf_tokenizer(source.path, source.config.vocab);
}

}  // namespace lowbit
