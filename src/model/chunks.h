// A text cut into chunks of tokens, as llama.cpp's perplexity and imatrix tools cut it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/transformer.h"
#include "text/tokenizer.h"

namespace lowbit {

struct ChunkOptions {
  int64_t size = 512;                  ///< tokens a chunk
  int64_t limit = 0;                   ///< at most so many chunks; 0: all full ones
  bool parse_special = false;          ///< read special tokens out of the text
  bool bos = true;                     ///< the first token of each chunk gives way to BOS if the model wants one
  std::string_view name = "the text";  ///< for messages
};

/// The tokens of a text but for one newline at its end, in full chunks one after another; what is left over at the end
/// is not used. Throws Error if the text has less than two chunks, or if a chunk is too small or too long for the
/// model.
std::vector<int32_t> chunk_tokens(const ModelConfig& model, const Tokenizer& tokenizer, std::string_view text,
                                  const ChunkOptions& options);

/// Runs chunks through a model, several at a time, each in a cache of its own that starts empty.
class ChunkRunner {
 public:
  ChunkRunner(Transformer& model, int64_t chunk, KvType cache = KvType::F16);

  /// Chunks a call should have: enough to keep the machine busy, few enough for memory.
  int64_t batch() const { return static_cast<int64_t>(caches_.size()); }
  /// `tokens` holds at most batch() chunks, one after another. Of each, only the first `used` tokens are run. Returns
  /// the hidden states from position `first_output` on: [chunks, used - first_output, hidden].
  std::vector<float> run(std::span<const int32_t> tokens, int64_t used, int64_t first_output, Tap* tap = nullptr);

 private:
  Transformer& model_;
  int64_t chunk_;
  std::vector<KvCache> caches_;
};

}  // namespace lowbit
