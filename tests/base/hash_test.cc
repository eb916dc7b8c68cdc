#include "base/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace lowbit {
namespace {

std::string hash_of(std::span<const std::byte> bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.hex();
}

std::string hash_of_texts(std::initializer_list<std::string_view> texts) {
  Hash hash;
  for (const std::string_view text : texts) hash.add(text);
  return hash.hex();
}

std::vector<std::byte> some_bytes(size_t count) {
  std::vector<std::byte> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(i * 37 + i / 251);
  return out;
}

TEST(Fnv1a, IsThePublishedFunction) {
  // Vectors of Fowler, Noll and Vo's own test suite.
  EXPECT_EQ(fnv1a64(""), 0xcbf29ce484222325u);
  EXPECT_EQ(fnv1a64("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(fnv1a64("foobar"), 0x85944171f73967e8u);
}

TEST(HashTest, IsThePublishedFunction) {
  // xxHash's documentation: XXH3-128 of nothing, seed 0.
  EXPECT_EQ(hash_of({}), "99aa06d3014798d86001c324468d497f");
}

TEST(HashTest, EveryBitOfEveryByteCounts) {
  std::vector<std::byte> bytes = some_bytes(1021);  // beyond the short forms of XXH3
  const std::string before = hash_of(bytes);
  std::set<std::string> seen = {before};
  for (size_t i = 0; i < bytes.size(); ++i) {
    const std::byte flipped{static_cast<unsigned char>(1U << (i % 8))};
    bytes[i] ^= flipped;
    EXPECT_TRUE(seen.insert(hash_of(bytes)).second) << "byte " << i;
    bytes[i] ^= flipped;
  }
  EXPECT_EQ(hash_of(bytes), before) << "put back, it is the same again";
}

TEST(HashTest, LengthAndOrderCount) {
  std::set<std::string> seen;
  for (size_t size = 0; size < 300; ++size) seen.insert(hash_of(std::vector<std::byte>(size)));
  EXPECT_EQ(seen.size(), 300u) << "zeros of different number";
  EXPECT_NE(hash_of_texts({"a", "b"}), hash_of_texts({"b", "a"}));
}

TEST(HashTest, PiecesOfBytesAreOneStreamButTextsAreApart) {
  const std::vector<std::byte> bytes = some_bytes(5000);
  for (const size_t cut : {0, 1, 255, 256, 257, 4999, 5000}) {
    Hash hash;
    hash.add(std::span<const std::byte>(bytes).first(cut));
    hash.add(std::span<const std::byte>(bytes).subspan(cut));
    EXPECT_EQ(hash.hex(), hash_of(bytes)) << cut;
  }
  EXPECT_NE(hash_of_texts({"ab", "c"}), hash_of_texts({"a", "bc"}));
  EXPECT_NE(hash_of_texts({"abc", ""}), hash_of_texts({"abc"}));
}

TEST(HashTest, TellingItDoesNotEndIt) {
  Hash hash;
  hash.add("first");
  EXPECT_EQ(hash.hex(), hash.hex());
  EXPECT_EQ(hash.hex().size(), 32u);
  hash.add("second");
  EXPECT_EQ(hash.hex(), hash_of_texts({"first", "second"}));
}

}  // namespace
}  // namespace lowbit
