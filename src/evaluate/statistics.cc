#include "evaluate/statistics.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

// Below this many values llama-perplexity gives no error.
constexpr size_t kFewest = 11;

double sum(std::span<const double> values) {
  double s = 0;
  for (const double v : values) s += v;
  return s;
}

/// Population covariance.
double covariance(std::span<const double> a, std::span<const double> b) {
  const double n = static_cast<double>(a.size());
  const double mean_a = sum(a) / n, mean_b = sum(b) / n;
  double s = 0;
  for (size_t i = 0; i < a.size(); ++i) s += (a[i] - mean_a) * (b[i] - mean_b);
  return s / n;
}

}  // namespace

Estimate mean(std::span<const double> values) {
  if (values.empty()) return {};
  return {sum(values) / static_cast<double>(values.size()), std::sqrt(covariance_of_means(values, values))};
}

double covariance_of_means(std::span<const double> a, std::span<const double> b) {
  if (a.size() < kFewest) return 0;
  return covariance(a, b) / static_cast<double>(a.size() - 1);
}

double quantile(std::span<const double> sorted, double fraction) {
  const double place = fraction * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const double rest = place - static_cast<double>(below);
  return (1 - rest) * sorted[below] + rest * sorted[std::min(below + 1, sorted.size() - 1)];
}

}  // namespace lowbit
