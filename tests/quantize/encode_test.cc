#include "quantize/encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace lowbit {
namespace {

std::vector<const Encoding*> block_encodings() {
  std::vector<const Encoding*> out;
  for (const Encoding& e : encodings()) {
    if (e.kind == EncodingKind::Block && !e.run_only) out.push_back(&e);
  }
  return out;
}

class Encode : public testing::TestWithParam<const Encoding*> {
 protected:
  const Encoding& e = *GetParam();

  std::vector<float> round_trip(const std::vector<float>& x, int64_t rows, const float* importance = nullptr) const {
    std::vector<std::byte> bytes(e.bytes(x.size()));
    encode_rows(e, Search::Weighted, x.data(), rows, static_cast<int64_t>(x.size()) / rows, importance, bytes.data());
    std::vector<float> out(x.size());
    decode(e, bytes.data(), static_cast<int64_t>(x.size()), out.data());
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Block, Encode, testing::ValuesIn(block_encodings()),
                         [](const auto& row) { return std::string(row.param->name); });

std::vector<float> gaussian(size_t n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

double squared_error(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
  return sum;
}

/// What rounding to the outermost levels gives: the scale from the extremes, then the nearest level, and no search.
std::vector<float> plain_rounding(const Encoding& e, const std::vector<float>& x) {
  std::vector<float> out(x.size());
  const auto block = static_cast<size_t>(e.block), sub = static_cast<size_t>(e.sub);
  for (size_t at = 0; at < x.size(); at += block) {
    BlockWish wish;
    for (size_t s = 0; s < block / sub; ++s) {
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>(at + s * sub);
      const auto [low, high] = std::minmax_element(begin, begin + e.sub);
      const float bottom = std::min(*low, 0.0F), top = std::max(*high, 0.0F);
      wish.importance[s] = 1;
      wish.min[s] = e.has_min ? -bottom : 0;
      wish.scale[s] = e.has_min ? (top - bottom) / static_cast<float>(e.levels.back())
                                : std::max(-bottom, top) / static_cast<float>(e.levels.back());
    }
    const BlockGrid grid = e.grid(e.snap(wish));
    for (size_t i = 0; i < block; ++i) {
      const float scale = grid.scale[i / sub], min = grid.min[i / sub];
      float best = INFINITY;
      for (const int8_t level : e.levels) {
        const float value = scale * static_cast<float>(level) - min;
        if (std::fabs(value - x[at + i]) < std::fabs(best - x[at + i])) best = value;
      }
      out[at + i] = best;
    }
  }
  return out;
}

TEST_P(Encode, ErrorIsNoMoreThanThatOfPlainRounding) {
  for (const float scale : {1e-3F, 1.0F, 300.0F}) {
    const std::vector<float> x = gaussian(64 * kMaxBlock, 5, scale);
    EXPECT_LT(squared_error(x, round_trip(x, 8)), squared_error(x, plain_rounding(e, x)) * 1.0);
  }
}

TEST_P(Encode, ZerosStayZero) {
  const std::vector<float> x(4 * kMaxBlock, 0.0F);
  EXPECT_EQ(round_trip(x, 2), x);
}

TEST_P(Encode, ABlockDoesNotDependOnItsNeighbours) {
  const std::vector<float> x = gaussian(40 * kMaxBlock, 6);
  const std::vector<float> together = round_trip(x, 5);
  for (size_t at = 0; at < x.size(); at += static_cast<size_t>(e.block)) {
    const std::vector<float> one(x.begin() + static_cast<std::ptrdiff_t>(at),
                                 x.begin() + static_cast<std::ptrdiff_t>(at) + e.block);
    const std::vector<float> alone = round_trip(one, 1);
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(at)));
  }
}

TEST_P(Encode, ExtremeValuesStayFiniteAndOrdered) {
  for (const float scale : {1e30F, 3e38F, 1e-30F, 1e-42F, 1e-7F, 65504.0F}) {
    std::vector<float> x = gaussian(4 * kMaxBlock, 7);
    const float most =
        std::fabs(*std::max_element(x.begin(), x.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
    for (float& v : x) v = v / most * scale;
    for (const float y : round_trip(x, 2)) {
      ASSERT_TRUE(std::isfinite(y)) << scale;
      ASSERT_LE(std::fabs(y), std::max(1.2F * std::fabs(scale), 1e-6F));
    }
  }
}

TEST_P(Encode, OneOutlierSurvivesAndTheRestStaysFinite) {
  std::vector<float> x = gaussian(4 * kMaxBlock, 8, 1e-3F);
  x[37] = 50;
  x[300] = -50;
  x[600] = 1e30F;
  const std::vector<float> y = round_trip(x, 2);
  EXPECT_NEAR(y[37], 50, 4);
  EXPECT_NEAR(y[300], -50, 4);
  for (const float v : y) EXPECT_TRUE(std::isfinite(v));
}

TEST_P(Encode, WithoutImportanceWhereItIsZero) {
  const std::vector<float> x = gaussian(8 * kMaxBlock, 9);
  const size_t cols = x.size() / 2;
  const std::vector<float> zeros(cols, 0.0F);
  EXPECT_EQ(round_trip(x, 2, zeros.data()), round_trip(x, 2));
  // Some channels only: their weights are still rounded to something near.
  std::vector<float> some(cols, 1e-20F);
  for (size_t i = 0; i < cols; i += 3) some[i] = 0;
  const std::vector<float> y = round_trip(x, 2, some.data());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_LT(std::fabs(x[i] - y[i]), 3) << i;
}

TEST_P(Encode, FollowsImportance) {
  const std::vector<float> x = gaussian(64 * kMaxBlock, 10);
  const size_t cols = x.size() / 16;
  std::vector<float> importance(cols);
  for (size_t i = 0; i < cols; ++i) importance[i] = i % 8 == 0 ? 1e30F : 1e28F;
  const auto error = [&](const std::vector<float>& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); i += 8)
      sum += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
    return sum;
  };
  EXPECT_LT(error(round_trip(x, 16, importance.data())), error(round_trip(x, 16)));
}

}  // namespace
}  // namespace lowbit
