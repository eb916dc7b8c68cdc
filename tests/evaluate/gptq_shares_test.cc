#include "evaluate/gptq_shares.h"

#include <gtest/gtest.h>

#include <random>

#include "model/layer_pass.h"

namespace lowbit {
namespace {

constexpr int64_t kCols = 64, kRows = 24;
const WeightId kQuery{Role::Q, 0};
const Encoding& kType = encoding(EncodingId::Q4_0);

std::vector<float> normal(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = draw(random);
  return out;
}

/// Inputs whose channels are `shared` alike.
std::vector<float> inputs(int64_t tokens, float shared) {
  std::vector<float> out = normal(tokens * kCols, 1);
  const std::vector<float> common = normal(tokens, 2);
  for (size_t i = 0; i < out.size(); ++i) out[i] += shared * common[i / kCols];
  return out;
}

double share_of(int64_t tokens, float shared) {
  ThreadPool pool(2);
  GptqShares shares(pool);
  const std::vector<float> x = inputs(tokens, shared), weights = normal(kRows * kCols, 3);
  shares.input(kQuery, x.data(), tokens, kCols);
  shares.input({Role::V, 0}, x.data(), tokens, kCols);  // the same inputs, once more
  const Encoding* const types[] = {&kType, &encoding(EncodingId::F16)};
  shares.measure(kQuery, weights, types);
  EXPECT_EQ(shares.share(encoding(EncodingId::F16)), 1);
  return shares.share(kType);
}

TEST(GptqShares, AreLessWhereChannelsHaveMoreInCommon) {
  const double alone = share_of(1024, 0), some = share_of(1024, 1), much = share_of(1024, 4);
  EXPECT_LT(alone, 1.0);  // descent chooses scales by all of H
  EXPECT_GT(alone, 0.7);
  EXPECT_LT(some, alone);
  EXPECT_LT(much, 0.7 * some);
}

TEST(GptqShares, AreNotMeasuredOnFewerTokensThanColumns) { EXPECT_EQ(share_of(kCols - 1, 1), 1); }

}  // namespace
}  // namespace lowbit
