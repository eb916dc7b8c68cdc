#include "base/error.h"
#include "base/file.h"
#include "model/source.h"
#include "model/tokenizer_gguf.h"

namespace lowbit {

TokenizerData read_tokenizer(const ModelSource& source) {
  if (source.is_gguf) return tokenizer_from_gguf(*source.gguf);
  return read_hf_tokenizer(source.path, source.config.vocab);
}

TokenizerData read_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::is_regular_file(path)) {
    const GgufFile file(path);
    return tokenizer_from_gguf(file.metadata());
  }
  if (!std::filesystem::is_directory(path))
    fail("{}: there is no such GGUF file or Hugging Face directory", path.string());
  const std::filesystem::path config = path / "config.json";
  if (!std::filesystem::exists(config)) return read_hf_tokenizer(path, 0);
  const Json json = parse_json(read_text_file(config), config.string());
  return read_hf_tokenizer(path, json_or<int64_t>(json, "vocab_size", 0, config.string()));
}

}  // namespace lowbit
