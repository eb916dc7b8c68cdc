// From logits to the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lowbit {

/// The defaults are llama.cpp's.
struct SamplerOptions {
  double temperature = 0.8;        ///< 0: always the likeliest token, after the penalty
  int top_k = 40;                  ///< keep the k likeliest; 0: all
  double top_p = 0.95;             ///< keep the smallest set whose probability reaches p; 1: all
  double min_p = 0.05;             ///< drop what is less likely than min_p times the likeliest; 0: nothing
  double repetition_penalty = 1;   ///< of tokens seen before: positive logits are divided by it, negative multiplied
  int64_t repetition_window = 64;  ///< how many of the last tokens count as seen; -1: all
  uint64_t seed = 0;
};

/// Throws Error naming the option that makes no sense (NaN, negative, top_p above 1 ...).
void check(const SamplerOptions& options);

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  /// In [0, 1): the upper 53 bits of next() times 2^-53.
  double uniform();

 private:
  uint64_t state_;
};

/// A seed from the system's entropy, for a user who gave none. Below 2^32, so that it is easily typed again.
uint64_t random_seed();

/// Steps, in this order: repetition penalty, top-k, top-p, min-p, temperature, draw. Top-p and min-p look at the
/// probabilities at temperature 1, among what the steps before have kept (llama.cpp's order). Equal logits rank by id.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  /// Draws one token; `history` holds the sequence so far, oldest first. A NaN logit is never chosen. Throws Error if
  /// no logit is a number above -infinity. Every call takes exactly one number from the generator unless greedy.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  static bool better(const Candidate& a, const Candidate& b);
  void penalize(std::span<const float> logits, std::span<const int32_t> history);
  void keep_top_k(std::span<const float> logits, int k);
  void keep_top_p();
  void keep_min_p();
  int32_t draw(double uniform);
  float best_logit() const;

  SamplerOptions options_;
  Random random_;
  std::vector<float> penalized_;
  std::vector<Candidate> candidates_;  // those kept so far
  bool sorted_ = false;                // from the likeliest on; else by id
  std::vector<double> weights_;
};

}  // namespace lowbit
