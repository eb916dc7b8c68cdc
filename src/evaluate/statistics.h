// Means, errors and quantiles, as llama-perplexity defines them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lowbit {

/// A figure and its standard error (68 % confidence; 0 where there are too few values to tell).
struct Estimate {
  double value = 0, error = 0;
};

/// Standard errors on either side of a figure that make the interval of 95 % confidence.
inline constexpr double kConfidence95 = 1.96;

/// Mean and standard error of the mean. Sums run in the order of the values, in binary64.
Estimate mean(std::span<const double> values);
/// Covariance of the means of two series of equal length.
double covariance_of_means(std::span<const double> a, std::span<const double> b);
/// Quantile of sorted values, linear between neighbours (numpy's default); fraction in [0, 1], values not empty.
double quantile(std::span<const double> sorted, double fraction);

}  // namespace lowbit
