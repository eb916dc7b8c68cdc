#include "evaluate/statistics.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

// Expected figures: numpy's mean, cov(ddof=1)/n and quantile.
const std::vector<double> kA{0.5, 2.25, 1.0, 3.5, 0.75, 1.5, 2.0, 0.25, 4.0, 1.25, 2.75, 0.1};
const std::vector<double> kB{0.6, 2.0, 1.1, 3.0, 0.5, 1.75, 2.5, 0.3, 3.5, 1.0, 2.5, 0.2};

TEST(Statistics, MeanAndItsStandardError) {
  const Estimate e = mean(kA);
  EXPECT_NEAR(e.value, 1.6541666666666668, 1e-12);
  EXPECT_NEAR(e.error, 0.3665698046991483, 1e-12);
}

TEST(Statistics, CovarianceOfMeans) { EXPECT_NEAR(covariance_of_means(kA, kB), 0.11570864898989898, 1e-12); }

TEST(Statistics, TooFewValuesHaveNoError) {
  const Estimate e = mean(std::span(kA).first(10));
  EXPECT_NEAR(e.value, 1.7, 1e-12);
  EXPECT_EQ(e.error, 0);
  EXPECT_EQ(mean({}).value, 0);
}

TEST(Statistics, Quantiles) {
  const std::vector<double> sorted{1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(quantile(sorted, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.5), 3);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.9), 6.8);
  EXPECT_DOUBLE_EQ(quantile(sorted, 1), 8);
  EXPECT_DOUBLE_EQ(quantile(std::vector<double>{7}, 0.999), 7);
}

}  // namespace
}  // namespace lowbit
