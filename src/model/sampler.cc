#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"

namespace lowbit {

void check(const SamplerOptions& o) {
  // Written so that NaN fails too.
  if (!(o.temperature >= 0 && o.temperature <= 1e6)) fail("temperature must be from 0 up, not {}", o.temperature);
  if (o.top_k < 0) fail("top-k must be 0 (all) or more, not {}", o.top_k);
  if (!(o.top_p > 0 && o.top_p <= 1)) fail("top-p must be above 0 and at most 1 (all), not {}", o.top_p);
  if (!(o.min_p >= 0 && o.min_p <= 1)) fail("min-p must be from 0 (all) to 1, not {}", o.min_p);
  if (!(o.repetition_penalty > 0 && o.repetition_penalty <= 1e6)) {
    fail("the repetition penalty must be above 0 (1: none), not {}", o.repetition_penalty);
  }
  if (o.repetition_window < -1) fail("the repetition window must be -1 (all) or more, not {}", o.repetition_window);
}

uint64_t Random::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

uint64_t random_seed() { return std::random_device()(); }

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) { check(options); }

bool Sampler::better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history) {
  const bool greedy = options_.temperature <= 0;
  const double uniform = greedy ? 0 : random_.uniform();
  if (options_.repetition_penalty != 1) {
    penalize(logits, history);
    logits = penalized_;
  }
  keep_top_k(logits, greedy ? 1 : options_.top_k);
  if (candidates_.empty()) fail("the model's logits are not numbers: its weights are damaged (see lowbit verify)");
  if (greedy) return candidates_[0].id;
  keep_top_p();
  keep_min_p();
  return draw(uniform);
}

void Sampler::penalize(std::span<const float> logits, std::span<const int32_t> history) {
  penalized_.assign(logits.begin(), logits.end());
  if (options_.repetition_window >= 0) {
    history = history.last(std::min(history.size(), static_cast<size_t>(options_.repetition_window)));
  }
  const float penalty = static_cast<float>(options_.repetition_penalty);
  for (const int32_t id : history) {
    const size_t i = static_cast<size_t>(id);
    if (id < 0 || i >= logits.size()) continue;
    // From the original: a token seen twice is penalized once.
    penalized_[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
  }
}

void Sampler::keep_top_k(std::span<const float> logits, int k) {
  candidates_.clear();
  const size_t keep = k == 0 ? logits.size() : std::min(logits.size(), static_cast<size_t>(k));
  sorted_ = keep < logits.size();
  for (size_t i = 0; i < logits.size(); ++i) {
    // Comparisons are false for NaN. Infinity would make probabilities of NaN.
    if (!(logits[i] > -std::numeric_limits<float>::infinity())) continue;
    const Candidate c{std::min(logits[i], std::numeric_limits<float>::max()), static_cast<int32_t>(i)};
    if (!sorted_) {
      candidates_.push_back(c);
    } else if (candidates_.size() < keep) {
      candidates_.push_back(c);
      std::push_heap(candidates_.begin(), candidates_.end(), better);
    } else if (better(c, candidates_.front())) {  // the front is the worst of those kept
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.back() = c;
      std::push_heap(candidates_.begin(), candidates_.end(), better);
    }
  }
  if (sorted_) std::sort_heap(candidates_.begin(), candidates_.end(), better);
}

float Sampler::best_logit() const {
  if (sorted_) return candidates_.front().logit;
  return std::max_element(candidates_.begin(), candidates_.end(),
                          [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; })
      ->logit;
}

void Sampler::keep_top_p() {
  if (options_.top_p >= 1) return;
  const double best = best_logit();
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(c.logit - best);
  // Sorting a whole vocabulary for the few tokens that matter would take longer than a small model's forward pass:
  // sort a growing head of it instead.
  size_t head = sorted_ ? candidates_.size() : 0;
  double sum = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    if (i == head) {
      head = std::min(candidates_.size(), std::max<size_t>(256, 4 * head));
      const auto begin = candidates_.begin() + static_cast<std::ptrdiff_t>(i);
      std::partial_sort(begin, candidates_.begin() + static_cast<std::ptrdiff_t>(head), candidates_.end(), better);
    }
    sum += std::exp(candidates_[i].logit - best);
    if (sum >= options_.top_p * total) {
      candidates_.resize(i + 1);
      break;
    }
  }
  sorted_ = true;
}

void Sampler::keep_min_p() {
  if (options_.min_p <= 0) return;
  const double threshold = best_logit() + std::log(options_.min_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < threshold; });
}

int32_t Sampler::draw(double uniform) {
  const double best = best_logit();
  weights_.clear();
  double total = 0;
  for (const Candidate& c : candidates_) {
    weights_.push_back(std::exp((c.logit - best) / options_.temperature));
    total += weights_.back();
  }
  double left = uniform * total;
  for (size_t i = 0; i < weights_.size(); ++i) {
    left -= weights_[i];
    if (left < 0) return candidates_[i].id;
  }
  return candidates_.back().id;  // rounding only
}

}  // namespace lowbit
