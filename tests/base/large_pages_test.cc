#include "base/large_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace lowbit {
namespace {

TEST(LargePages, VectorsAreOfZeros) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{3} << 20, (size_t{9} << 20) + 5}) {
    const auto bytes = large_vector<uint8_t>(size);
    EXPECT_EQ(bytes.size(), size);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; })) << size;
  }
}

TEST(LargePages, AWishLeavesMemoryAsItIs) {
  std::vector<uint32_t> words(size_t{2} << 20);
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(i);
  wish_large_pages(words.data() + 1, (words.size() - 2) * sizeof(uint32_t));
  for (size_t i = 0; i < words.size(); ++i) ASSERT_EQ(words[i], i);
}

}  // namespace
}  // namespace lowbit
