#include "kernel/groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernel/support.h"

namespace lowbit {
namespace {

using test::random_floats;
using test::same_bits;

constexpr int64_t kSizes[] = {1, 5, 16, 32, 63, 64, 100, 128, 200};

TEST(Groups, RoundsToTheNearestCodes) {
  for (const int64_t n : kSizes) {
    const std::vector<float> x = random_floats(n, 1);
    const GroupGrid grid{0.3f, 7, 15};
    for (const GroupKernels* k : all_group_kernels()) {
      std::vector<float> level(x.size()), error(x.size());
      k->round(x.data(), n, grid, level.data(), error.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const float code = std::nearbyint(std::clamp(x[i] * (1 / grid.scale) + grid.zero, 0.0f, grid.top));
        EXPECT_EQ(level[i], code - grid.zero) << k->name << " " << i;
        EXPECT_EQ(error[i], std::fma(-grid.scale, level[i], x[i])) << k->name << " " << i;
      }
    }
  }
}

TEST(Groups, RoundsToTheNearestLevelsOfATable) {
  GroupTable table{};
  for (int i = 0; i < 16; ++i) table.levels[i] = static_cast<float>(i * std::abs(i - 7) - 40) / 64;
  std::sort(std::begin(table.levels), std::end(table.levels));
  for (int i = 0; i < 15; ++i) table.midpoints[i] = (table.levels[i] + table.levels[i + 1]) / 2;
  for (const int64_t n : kSizes) {
    for (const float scale : {0.5f, 0.3f, 0.0f}) {
      std::vector<float> x = random_floats(n, 1);
      x.front() = table.midpoints[4] / 2;  // as near to two
      for (const GroupKernels* k : all_group_kernels()) {
        std::vector<float> level(x.size()), error(x.size());
        k->round_to_table(x.data(), n, table, scale, level.data(), error.data());
        for (size_t i = 0; i < x.size(); ++i) {
          const float scaled = x[i] * (scale == 0 ? 0 : 1 / scale);
          const auto at = std::lower_bound(std::begin(table.midpoints), std::end(table.midpoints), scaled);
          EXPECT_EQ(level[i], table.levels[at - std::begin(table.midpoints)]) << k->name << " " << i;
          EXPECT_EQ(error[i], x[i] - scale * level[i]) << k->name << " " << i;
        }
      }
    }
  }
}

TEST(Groups, SumsAreTheirDefinitionsAndTheSameForEveryInstructionSet) {
  for (const int64_t n : kSizes) {
    const std::vector<float> w = random_floats(n, 1), x = random_floats(n, 2), l = random_floats(n, 3),
                             e = random_floats(n, 4), gram = random_floats(n * n, 5);
    std::vector<float> symmetric(gram);
    double error = 0, lx = 0, ll = 0, through = 0, size = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      error += double{w[i]} * e[i] * e[i];
      lx += double{w[i]} * l[i] * x[i];
      ll += double{w[i]} * l[i] * l[i];
      for (size_t j = 0; j < x.size(); ++j) {
        symmetric[i * x.size() + j] = j < i ? gram[i * x.size() + j] : gram[j * x.size() + i];
        const double term = double{x[i]} * symmetric[i * x.size() + j] * e[j];
        through += term;
        size += std::abs(term);
      }
    }
    const GroupSums first = all_group_kernels().front()->weigh(w.data(), x.data(), l.data(), e.data(), n);
    EXPECT_NEAR(first.error, error, 1e-4 * static_cast<double>(n));
    EXPECT_NEAR(first.lx, lx, 1e-4 * static_cast<double>(n));
    EXPECT_NEAR(first.ll, ll, 1e-4 * static_cast<double>(n));
    const double once = all_group_kernels().front()->through(symmetric.data(), x.data(), e.data(), n);
    EXPECT_NEAR(once, through, 1e-5 * size);
    for (const GroupKernels* k : all_group_kernels()) {
      const GroupSums sums = k->weigh(w.data(), x.data(), l.data(), e.data(), n);
      EXPECT_TRUE(sums.error == first.error && sums.lx == first.lx && sums.ll == first.ll) << k->name << " " << n;
      EXPECT_EQ(k->through(symmetric.data(), x.data(), e.data(), n), once) << k->name << " " << n;
    }
  }
}

TEST(Groups, GramsAreSumsOfProducts) {
  for (const int64_t n : kSizes) {
    const int64_t tokens = 21, stride = n + 3;
    const std::vector<float> x = random_floats(tokens * stride, 1);
    std::vector<float> first;
    for (const GroupKernels* k : all_group_kernels()) {
      std::vector<float> sums(static_cast<size_t>(n * n), 0.5f);
      k->add_gram(x.data(), tokens, stride, n, sums.data());
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          float& sum = sums[static_cast<size_t>(i * n + j)];
          if (j > i) {
            sum = 0;  // not asked for
            continue;
          }
          double want = 0.5;
          for (int64_t t = 0; t < tokens; ++t) {
            want += double{x[static_cast<size_t>(t * stride + i)]} * x[static_cast<size_t>(t * stride + j)];
          }
          ASSERT_NEAR(sum, want, 1e-3) << k->name << " " << i << " " << j;
        }
      }
      if (first.empty()) first = sums;
      EXPECT_TRUE(same_bits(sums, first)) << k->name << " " << n;
    }
  }
}

}  // namespace
}  // namespace lowbit
