#include "kernel/doubles.h"

#include <gtest/gtest.h>

#include <random>

namespace lowbit {
namespace {

TEST(Doubles, EveryKernelEqualsTheReference) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  const int64_t count = 77, stride = 19;
  std::vector<double> a(count * kTileRows), b(count * kTileCols64), c(kTileRows * stride);
  for (auto* v : {&a, &b, &c}) {
    for (double& x : *v) x = normal(random);
  }
  std::vector<double> wanted = c;
  all_double_kernels().front()->subtract_products(a.data(), b.data(), count, wanted.data(), stride);
  EXPECT_NE(wanted, c);
  for (const DoubleKernels* k : all_double_kernels()) {
    std::vector<double> got = c;
    k->subtract_products(a.data(), b.data(), count, got.data(), stride);
    EXPECT_EQ(got, wanted) << k->name;
  }
}

}  // namespace
}  // namespace lowbit
