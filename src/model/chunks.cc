#include "model/chunks.h"

#include <algorithm>

#include "base/error.h"

namespace lowbit {
namespace {

constexpr int64_t kMinChunk = 8;
constexpr int64_t kBatchTokens = 2048;

}  // namespace

std::vector<int32_t> chunk_tokens(const ModelConfig& model, const Tokenizer& tokenizer, std::string_view text,
                                  const ChunkOptions& options) {
  if (options.size < kMinChunk) fail("chunks of {} tokens are too short: ask for {} or more", options.size, kMinChunk);
  if (options.size > model.context) {
    fail("chunks of {} tokens are longer than the model's context of {}: ask for shorter ones", options.size,
         model.context);
  }
  if (options.limit < 0) fail("the number of chunks must be 0 (all) or more, not {}", options.limit);
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<int32_t> tokens = tokenizer.encode(text, true, options.parse_special);
  const int64_t chunks = static_cast<int64_t>(tokens.size()) / options.size;
  if (chunks < 2) {
    fail("{} has only {} tokens: give a text of at least {} (two chunks of {})", options.name, tokens.size(),
         2 * options.size, options.size);
  }
  tokens.resize(static_cast<size_t>((options.limit == 0 ? chunks : std::min(chunks, options.limit)) * options.size));
  const TokenizerData& data = tokenizer.data();
  if (options.bos && data.add_bos && data.bos) {
    for (size_t i = 0; i < tokens.size(); i += static_cast<size_t>(options.size)) tokens[i] = *data.bos;
  }
  return tokens;
}

ChunkRunner::ChunkRunner(Transformer& model, int64_t chunk, KvType cache) : model_(model), chunk_(chunk) {
  const int64_t count = std::max<int64_t>(1, kBatchTokens / chunk);
  for (int64_t i = 0; i < count; ++i) caches_.emplace_back(model.config(), chunk, cache);
}

std::vector<float> ChunkRunner::run(std::span<const int32_t> tokens, int64_t used, int64_t first_output, Tap* tap) {
  std::vector<Segment> segments;
  for (size_t i = 0; i * static_cast<size_t>(chunk_) < tokens.size(); ++i) {
    caches_[i].truncate(0);
    segments.push_back(
        {tokens.subspan(i * static_cast<size_t>(chunk_), static_cast<size_t>(used)), &caches_[i], first_output});
  }
  return model_.forward(segments, tap);
}

}  // namespace lowbit
