#include "quantize/layerwise/layer_stream.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

namespace lowbit {
namespace {

TEST(TokenStatesTest, AreTheSameInMemoryAndInAFile) {
  constexpr int64_t kTokens = 333, kWidth = 24;
  ScratchFile file(testing::TempDir(), 2 * kTokens * kWidth * sizeof(uint16_t));
  TokenStates memory(kTokens, kWidth, nullptr), first(kTokens, kWidth, &file), second(kTokens, kWidth, &file);
  ThreadPool pool(3);
  std::mt19937 random(5);
  std::vector<float> values(kTokens * kWidth);
  for (float& x : values) x = static_cast<float>(static_cast<int32_t>(random())) / 1e9F;
  std::vector<float> other(values.rbegin(), values.rend());
  for (int64_t begin = 0; begin < kTokens; begin += 100) {
    const int64_t count = std::min<int64_t>(100, kTokens - begin);
    for (TokenStates* s : {&memory, &first}) s->set(begin, count, values.data() + begin * kWidth, pool);
    second.set(begin, count, other.data() + begin * kWidth, pool);
  }
  std::vector<float> a(values.size()), b(values.size()), c(values.size());
  memory.get(0, kTokens, a.data(), pool);
  first.get(0, kTokens, b.data(), pool);
  second.get(0, kTokens, c.data(), pool);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a, std::vector<float>(c.rbegin(), c.rend())) << "two in one file do not mix";
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], values[i], std::abs(values[i]) / 256);
  std::vector<float> part(5 * kWidth);
  first.get(117, 5, part.data(), pool);
  EXPECT_EQ(part, std::vector<float>(a.begin() + 117 * kWidth, a.begin() + 122 * kWidth));
}

}  // namespace
}  // namespace lowbit
