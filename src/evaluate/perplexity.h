// Perplexity of a text, and how far a model's predictions are from a reference model's.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "evaluate/divergence.h"
#include "evaluate/statistics.h"
#include "model/transformer.h"
#include "text/tokenizer.h"

namespace lowbit {

struct EvaluateOptions {
  int64_t context = 512;  ///< tokens a chunk
  int64_t chunks = 0;     ///< at most so many; 0: all full chunks of the text
  /// False: llama-perplexity's definition: the first token of each chunk is replaced by BOS if the model wants one, and
  /// only the second half of a chunk is scored: from position context/2 on, each token predicts the next.
  /// True: Hugging Face's: chunks as they are, every token of a chunk but its first is scored.
  bool hugging_face = false;
  KvType cache = KvType::F16;          ///< of the model; the reference has F16
  std::string text_name = "the text";  ///< for messages
};

/// A model under evaluation.
struct EvaluatedModel {
  Transformer& transformer;
  const Tokenizer& tokenizer;
  std::string name;  ///< for messages
};

struct Evaluation {
  Estimate perplexity;
  int64_t tokens = 0;  ///< scored
  int64_t chunks = 0;
  int64_t context = 0;
  double seconds = 0;
  std::vector<double> chunk_nll;  ///< of each chunk's scored tokens, mean of -ln p: to compare measurements in pairs
  std::optional<Divergence> divergence;  ///< with a reference
};

/// Scores `text` in consecutive chunks, with progress on standard error. With a reference, both models see the same
/// chunks in lock-step and their logits are compared row by row; nothing of the size of all logits is ever held.
/// The result is the same for any number of threads.
/// Throws Error for a text shorter than two contexts, a context the model cannot hold, or a reference whose tokenizer
/// or vocabulary differs.
Evaluation evaluate(const EvaluatedModel& model, const EvaluatedModel* reference, std::string_view text,
                    const EvaluateOptions& options);

/// The same for tokens that are cut already: [chunks, context]. Both models have one vocabulary, or Error.
Evaluation evaluate(const EvaluatedModel& model, const EvaluatedModel* reference, std::vector<int32_t> tokens,
                    const EvaluateOptions& options);

/// Keys: perplexity, perplexity_error, tokens, chunks, context, seconds; with a reference also reference_perplexity,
/// reference_perplexity_error, perplexity_ratio, perplexity_ratio_error, mean_kld, mean_kld_error, median_kld, kld_p90,
/// kld_p95, kld_p99, kld_p999, max_kld, top1_agreement, top1_agreement_error, rms_delta_p, rms_delta_p_error,
/// mean_delta_p, mean_delta_p_error.
Json to_json(const Evaluation& evaluation);

}  // namespace lowbit
