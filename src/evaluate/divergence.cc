#include "evaluate/divergence.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernel/kernels.h"

namespace lowbit {
namespace {

// Logits a block: each is computed into a small buffer by a loop that the compiler vectorises, then added in binary64.
constexpr size_t kBlock = 512;
constexpr size_t kLanes = 16;

/// e^x for x <= 0 within 2 ulp (e^-87 below -87). Cephes' argument reduction and polynomial, free of branches.
inline float exp_nonpositive(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low mantissa bits
  // As integers, negative floats rise with their magnitude: an unsigned minimum clamps them without a branch.
  const float clamped = std::bit_cast<float>(std::min(std::bit_cast<uint32_t>(x), std::bit_cast<uint32_t>(-87.0f)));
  const float shifted = clamped * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000u);
  return p * power;
}

int32_t argmax(std::span<const float> x) {
  float best[kLanes];
  std::fill_n(best, kLanes, x[0]);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) best[l] = best[l] < x[i + l] ? x[i + l] : best[l];
  }
  float top = *std::max_element(best, best + kLanes);
  for (; i < x.size(); ++i) top = std::max(top, x[i]);
  return static_cast<int32_t>(std::find(x.begin(), x.end(), top) - x.begin());
}

Estimate exponential(const Estimate& e) { return {std::exp(e.value), std::exp(e.value) * e.error}; }

}  // namespace

TokenScore score(std::span<const float> logits, int32_t next) {
  TokenScore s;
  s.log_sum = kernels().log_sum_exp(logits.data(), static_cast<int64_t>(logits.size()));
  s.nll = s.log_sum - static_cast<double>(logits[static_cast<size_t>(next)]);
  s.top = argmax(logits);
  return s;
}

double kl_divergence(std::span<const float> reference, double reference_log_sum, std::span<const float> model,
                     double model_log_sum) {
  // log p - log q = (reference - model) - shift. The difference of nearly equal logits is exact in binary32, where that
  // of two logarithms would have lost the small divergences.
  const float log_sum = static_cast<float>(reference_log_sum);
  const double exact_shift = reference_log_sum - model_log_sum;
  const float shift = static_cast<float>(exact_shift);
  float term[kBlock];
  double lanes[kLanes] = {};
  for (size_t begin = 0; begin < reference.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, reference.size() - begin);
    const float* p = reference.data() + begin;
    const float* q = model.data() + begin;
    for (size_t i = 0; i < n; ++i) term[i] = exp_nonpositive(p[i] - log_sum) * ((p[i] - q[i]) - shift);
    std::fill(term + n, term + kBlock, 0.0f);
    for (size_t i = 0; i < kBlock; i += kLanes) {
      for (size_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(term[i + l]);
    }
  }
  // What rounding the shift has changed, times the sum of p.
  return std::accumulate(lanes, lanes + kLanes, static_cast<double>(shift) - exact_shift);
}

void DivergenceCollector::add(const TokenScore& model, const TokenScore& reference, double kld) {
  kld_.push_back(kld);
  nll_.push_back(model.nll);
  reference_nll_.push_back(reference.nll);
  same_top_ += model.top == reference.top;
}

Divergence DivergenceCollector::result() const {
  Divergence d;
  const size_t n = kld_.size();
  const double count = static_cast<double>(n);

  d.mean_kld = mean(kld_);
  std::vector<double> sorted = kld_;
  std::sort(sorted.begin(), sorted.end());
  d.median_kld = quantile(sorted, 0.5);
  d.kld_p90 = quantile(sorted, 0.9);
  d.kld_p95 = quantile(sorted, 0.95);
  d.kld_p99 = quantile(sorted, 0.99);
  d.kld_p999 = quantile(sorted, 0.999);
  d.max_kld = sorted.back();

  const double same = static_cast<double>(same_top_) / count;
  d.top1_agreement = {same, n > 1 ? std::sqrt(same * (1 - same) / (count - 1)) : 0};

  std::vector<double> delta(n), squared(n);
  for (size_t i = 0; i < n; ++i) {
    delta[i] = std::exp(-nll_[i]) - std::exp(-reference_nll_[i]);
    squared[i] = delta[i] * delta[i];
  }
  d.mean_delta_p = mean(delta);
  const Estimate square = mean(squared);
  const double rms = std::sqrt(square.value);
  d.rms_delta_p = {rms, rms > 0 ? 0.5 / rms * square.error : 0};

  const Estimate own = mean(nll_), base = mean(reference_nll_);
  d.reference_perplexity = exponential(base);
  // The variance of a difference of means over the same tokens.
  const double variance =
      own.error * own.error + base.error * base.error - 2 * covariance_of_means(nll_, reference_nll_);
  d.perplexity_ratio = exponential({own.value - base.value, std::sqrt(std::max(0.0, variance))});
  return d;
}

}  // namespace lowbit
