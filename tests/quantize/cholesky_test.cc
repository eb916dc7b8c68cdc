#include "quantize/layerwise/cholesky.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/hash.h"

namespace lowbit {
namespace {

/// A A^T / n + 0.01, from numbers that are the same everywhere.
SquareMatrix hessian(int64_t n) {
  std::mt19937 random(7);
  std::vector<double> a(static_cast<size_t>(n * n));
  for (double& x : a) x = static_cast<double>(static_cast<int32_t>(random())) / 2147483648.0;
  SquareMatrix h(n);
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c <= r; ++c) {
      double sum = r == c ? 0.01 : 0;
      for (int64_t k = 0; k < n; ++k) sum += a[r * n + k] * a[c * n + k] / static_cast<double>(n);
      h.at(r, c) = h.at(c, r) = sum;
    }
  }
  return h;
}

/// The definition, element by element: what the blocked one must equal bit for bit.
std::vector<float> plain_factor(const SquareMatrix& h) {
  const int64_t n = h.n;
  SquareMatrix l(n), x(n);
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c <= r; ++c) {
      double sum = h.at(n - 1 - r, n - 1 - c);
      for (int64_t k = 0; k < c; ++k) sum = std::fma(-l.at(r, k), l.at(c, k), sum);
      l.at(r, c) = r == c ? std::sqrt(sum) : sum / l.at(c, c);
    }
  }
  std::vector<float> u(static_cast<size_t>(n * n));
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c <= r; ++c) {
      double sum = 0;
      for (int64_t k = c; k < r; ++k) sum = std::fma(-l.at(r, k), x.at(k, c), sum);
      x.at(r, c) = r == c ? 1 / l.at(r, r) : sum / l.at(r, r);
      u[static_cast<size_t>((n - 1 - r) * n + n - 1 - c)] = static_cast<float>(x.at(r, c));
    }
  }
  return u;
}

TEST(Cholesky, EqualsTheDefinitionBitForBitForAnySizeAndThreads) {
  for (const int64_t n : {1, 2, 7, 8, 17, 128, 129, 300, 523}) {
    const SquareMatrix h = hessian(n);
    const std::vector<float> wanted = plain_factor(h);
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::vector<float> u;
      ASSERT_TRUE(inverse_factor(h, u, pool)) << n;
      ASSERT_EQ(u, wanted) << n << " " << threads;
    }
  }
}

TEST(Cholesky, FactorsTheInverse) {
  const int64_t n = 150;
  const SquareMatrix h = hessian(n);
  ThreadPool pool(2);
  std::vector<float> u;
  ASSERT_TRUE(inverse_factor(h, u, pool));
  const auto at = [&](int64_t r, int64_t c) { return static_cast<double>(u[static_cast<size_t>(r * n + c)]); };
  for (int64_t i = 0; i < n; i += 7) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;  // (U^T U H)[i, j]
      for (int64_t k = 0; k < n; ++k) {
        double inverse = 0;
        for (int64_t m = 0; m <= std::min(i, k); ++m) inverse += at(m, i) * at(m, k);
        sum += inverse * h.at(k, j);
      }
      ASSERT_NEAR(sum, i == j ? 1 : 0, 1e-3) << i << " " << j;
      ASSERT_TRUE(j >= i || at(i, j) == 0);
    }
  }
}

TEST(Cholesky, IsTheSameOnEveryMachine) {
  ThreadPool pool(2);
  std::vector<float> u;
  ASSERT_TRUE(inverse_factor(hessian(200), u, pool));
  EXPECT_EQ(fnv1a64({reinterpret_cast<const char*>(u.data()), u.size() * sizeof(float)}), 17225704102735130308u);
}

TEST(Cholesky, WhatIsNotPositiveDefiniteHasNoFactor) {
  ThreadPool pool(2);
  std::vector<float> u;
  EXPECT_FALSE(inverse_factor(SquareMatrix(4), u, pool));  // zero
  SquareMatrix negative(200);
  for (int64_t i = 0; i < 200; ++i) negative.at(i, i) = i == 20 ? -1 : 1;
  EXPECT_FALSE(inverse_factor(negative, u, pool));
  SquareMatrix damaged(2);
  damaged.at(0, 0) = damaged.at(1, 1) = 1;
  damaged.at(1, 0) = damaged.at(0, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(inverse_factor(damaged, u, pool));
}

}  // namespace
}  // namespace lowbit
