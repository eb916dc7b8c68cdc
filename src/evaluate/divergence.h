// Kullback-Leibler divergence of a model's next-token distributions from a reference model's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "evaluate/statistics.h"

namespace lowbit {

/// What one row of logits says of the token that followed.
struct TokenScore {
  double nll = 0;      ///< -log p(next token), natural
  int32_t top = 0;     ///< the likeliest token; the smallest id among equals
  double log_sum = 0;  ///< log(sum(exp(logits)))
};
TokenScore score(std::span<const float> logits, int32_t next);

/// sum_i p(i) (log p(i) - log q(i)) in nats: p is the reference's softmax, q the model's.
double kl_divergence(std::span<const float> reference, double reference_log_sum, std::span<const float> model,
                     double model_log_sum);

/// Statistics over all scored tokens; definitions and standard errors are llama-perplexity --kl-divergence's.
/// Probabilities (delta p, agreement) are fractions, not percent.
struct Divergence {
  Estimate mean_kld;
  double median_kld = 0, kld_p90 = 0, kld_p95 = 0, kld_p99 = 0, kld_p999 = 0, max_kld = 0;
  Estimate top1_agreement;  ///< how often both models' likeliest tokens are the same
  Estimate mean_delta_p;    ///< of the token that followed: p of the model minus p of the reference
  Estimate rms_delta_p;
  Estimate reference_perplexity;
  Estimate perplexity_ratio;  ///< the model's over the reference's; its error knows that both saw the same text
};

/// Collects token by token, in the text's order.
class DivergenceCollector {
 public:
  void add(const TokenScore& model, const TokenScore& reference, double kld);
  /// Precondition: something was added.
  Divergence result() const;

 private:
  std::vector<double> kld_, nll_, reference_nll_;
  int64_t same_top_ = 0;
};

}  // namespace lowbit
