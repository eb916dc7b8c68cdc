// Text generation: prefill, then one token after another until something says stop.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/sampler.h"
#include "model/transformer.h"
#include "text/tokenizer.h"

namespace lowbit {

/// Holds back text that may turn out to be the beginning of a stop string.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  ///< empty strings are ignored

  /// Takes the next piece of text and returns what is now certain to precede any stop string. Once a stop string is
  /// complete, stopped() is true, the text before it has been returned, and further pieces give nothing.
  std::string push(std::string_view text);
  /// What was held back, at the end of the text; nothing after a stop.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

struct GenerateOptions {
  SamplerOptions sampler;
  int64_t max_tokens = -1;        ///< -1: until the model ends or the cache is full
  std::vector<std::string> stop;  ///< not part of the returned text
  bool ignore_end = false;        ///< go on after end-of-generation tokens (for benchmarks)
};

enum class StopReason { EndOfGeneration, StopString, MaxTokens, ContextFull, Cancelled };
std::string_view name(StopReason reason);  ///< "end", "stop", "length", "context", "cancelled"

struct Generation {
  std::string text;             ///< valid UTF-8
  std::vector<int32_t> tokens;  ///< all that were drawn, an end-of-generation token included
  StopReason reason = StopReason::MaxTokens;
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0;      ///< of the pass over the prompt
  double generation_seconds = 0;  ///< from there on: tokens.size() - 1 forward passes and the sampling
  double prompt_tokens_per_second() const;
  double tokens_per_second() const;
};

/// Called with each piece of text that is certain to be in the answer, always valid UTF-8. False cancels.
using TextCallback = std::function<bool(std::string_view text)>;

/// Continues the sequence in `cache` (often empty) with `prompt`, then draws tokens. Afterwards the cache holds the
/// prompt and all drawn tokens but the last. Throws Error for an empty prompt and for one that does not fit the cache.
Generation generate(Transformer& model, const Tokenizer& tokenizer, KvCache& cache, std::span<const int32_t> prompt,
                    const GenerateOptions& options, const TextCallback& on_text = {});

}  // namespace lowbit
