#include "evaluate/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace lowbit {
namespace {

std::vector<float> random_logits(size_t n, unsigned seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

double exact_log_sum(const std::vector<float>& x) {
  long double sum = 0, top = *std::max_element(x.begin(), x.end());
  for (const float v : x) sum += std::exp(static_cast<long double>(v) - top);
  return static_cast<double>(std::log(sum) + top);
}

double exact_divergence(const std::vector<float>& p, const std::vector<float>& q) {
  const long double a = exact_log_sum(p), b = exact_log_sum(q);
  long double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i] - a) * ((p[i] - a) - (q[i] - b));
  return static_cast<double>(sum);
}

TEST(Score, NegativeLogLikelihoodAndTop) {
  for (const size_t n : {size_t{1}, size_t{15}, size_t{16}, size_t{1000}, size_t{4099}}) {
    const std::vector<float> x = random_logits(n, static_cast<unsigned>(n), 5);
    const TokenScore s = score(x, static_cast<int32_t>(n / 2));
    EXPECT_NEAR(s.log_sum, exact_log_sum(x), 1e-5);
    EXPECT_NEAR(s.nll, exact_log_sum(x) - x[n / 2], 1e-5);
    EXPECT_EQ(s.top, std::max_element(x.begin(), x.end()) - x.begin());
  }
  const std::vector<float> ties{1, 3, 2, 3};
  EXPECT_EQ(score(ties, 0).top, 1);
}

TEST(KlDivergence, EqualsItsDefinition) {
  // From near-identical models (as F16 and BF16 files of one are) to unrelated ones.
  for (const float noise : {0.001F, 0.01F, 0.1F, 1.0F, 10.0F}) {
    for (const size_t n : {size_t{3}, size_t{777}, size_t{49152}}) {
      const std::vector<float> p = random_logits(n, 1, 4), other = random_logits(n, 2, noise);
      std::vector<float> q = p;
      for (size_t i = 0; i < n; ++i) q[i] += other[i] + 0.5F;
      const double exact = exact_divergence(p, q);
      const double ours = kl_divergence(p, exact_log_sum(p), q, exact_log_sum(q));
      EXPECT_NEAR(ours, exact, 1e-8 + 1e-4 * exact) << noise << ' ' << n;
    }
  }
}

TEST(KlDivergence, IsZeroOfAModelWithItself) {
  const std::vector<float> p = random_logits(5000, 3, 6);
  EXPECT_EQ(kl_divergence(p, exact_log_sum(p), p, exact_log_sum(p)), 0);
}

TEST(KlDivergence, SurvivesUnlikelyTokens) {
  const std::vector<float> p{0, -1000, 5, -88, -104}, q{1, 1000, 5, 3, 2};
  EXPECT_NEAR(kl_divergence(p, exact_log_sum(p), q, exact_log_sum(q)), exact_divergence(p, q), 1e-3);
}

TEST(DivergenceCollector, FollowsTheDefinitions) {
  DivergenceCollector c;
  std::vector<double> kld, nll, base;
  std::mt19937 random(4);
  std::exponential_distribution<double> draw(1);
  int same = 0;
  for (int i = 0; i < 500; ++i) {
    const TokenScore m{draw(random), i % 7, 0}, r{draw(random), i % 5, 0};
    const double k = draw(random) / 10;
    c.add(m, r, k);
    kld.push_back(k);
    nll.push_back(m.nll);
    base.push_back(r.nll);
    same += i % 7 == i % 5;
  }
  const Divergence d = c.result();
  double sum = 0, sum2 = 0, delta2 = 0, delta4 = 0, delta = 0;
  double log_ratio = 0, log_ratio2 = 0;
  for (size_t i = 0; i < 500; ++i) {
    sum += kld[i];
    sum2 += kld[i] * kld[i];
    const double dp = std::exp(-nll[i]) - std::exp(-base[i]);
    delta += dp;
    delta2 += dp * dp;
    delta4 += dp * dp * dp * dp;
    log_ratio += nll[i] - base[i];
    log_ratio2 += (nll[i] - base[i]) * (nll[i] - base[i]);
  }
  EXPECT_NEAR(d.mean_kld.value, sum / 500, 1e-12);
  EXPECT_NEAR(d.mean_kld.error, std::sqrt((sum2 / 500 - sum / 500 * sum / 500) / 499), 1e-12);
  EXPECT_NEAR(d.top1_agreement.value, same / 500.0, 1e-12);
  EXPECT_NEAR(d.top1_agreement.error, std::sqrt(same / 500.0 * (1 - same / 500.0) / 499), 1e-12);
  EXPECT_NEAR(d.mean_delta_p.value, delta / 500, 1e-12);
  EXPECT_NEAR(d.rms_delta_p.value, std::sqrt(delta2 / 500), 1e-12);
  EXPECT_NEAR(d.rms_delta_p.error,
              0.5 / std::sqrt(delta2 / 500) * std::sqrt((delta4 / 500 - delta2 / 500 * delta2 / 500) / 499), 1e-12);
  // The variance of a difference equals the sum of variances less twice the covariance.
  EXPECT_NEAR(d.perplexity_ratio.value, std::exp(log_ratio / 500), 1e-12);
  EXPECT_NEAR(d.perplexity_ratio.error,
              std::exp(log_ratio / 500) * std::sqrt((log_ratio2 / 500 - log_ratio / 500 * log_ratio / 500) / 499),
              1e-12);
  std::sort(kld.begin(), kld.end());
  EXPECT_NEAR(d.median_kld, (kld[249] + kld[250]) / 2, 1e-12);
  EXPECT_NEAR(d.kld_p99, kld[494] + 0.01 * (kld[495] - kld[494]), 1e-12);  // 0.99 * 499 = 494.01
  EXPECT_EQ(d.max_kld, kld.back());
}

}  // namespace
}  // namespace lowbit
