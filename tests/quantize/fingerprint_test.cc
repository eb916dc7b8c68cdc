#include "quantize/fingerprint.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "model/tiny_model.h"

namespace lowbit {
namespace {

using Contents = std::vector<std::pair<std::string, std::vector<std::byte>>>;

std::vector<std::byte> some_bytes(size_t count) {
  std::vector<std::byte> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(i * 131 + i / 256);
  return out;
}

std::string of(const Contents& contents, EncodingId type = EncodingId::F32, int64_t rows = 1) {
  const Encoding& e = encoding(type);
  MemoryStore store;
  for (const auto& [name, bytes] : contents) {
    const auto elements = static_cast<int64_t>(bytes.size()) / static_cast<int64_t>(e.bytes(1));
    store.put(name, {rows, elements / rows}, e, bytes);
  }
  return fingerprint(store);
}

constexpr size_t kSampledWhole = 16 * 4096;  // bytes of a tensor up to which all of it counts

TEST(Fingerprint, EveryByteOfASmallTensorCounts) {
  Contents contents = {{"a", some_bytes(64)}, {"b", some_bytes(400)}};
  const std::string before = of(contents);
  EXPECT_THAT(before, testing::MatchesRegex("xxh3-sampled:[0-9a-f]*"));
  EXPECT_EQ(before.size(), std::string("xxh3-sampled:").size() + 32);
  for (auto& [name, bytes] : contents) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] ^= std::byte{1};
      EXPECT_NE(of(contents), before) << name << " " << i;
      bytes[i] ^= std::byte{1};
    }
  }
  EXPECT_EQ(of(contents), before);
}

TEST(Fingerprint, ALargeTensorIsSampledEvenlyAndToItsEnds) {
  const size_t size = 10 * kSampledWhole;
  Contents contents = {{"a", some_bytes(size)}};
  const std::string before = of(contents);
  std::vector<bool> counts;  // of one byte in each 512
  for (size_t i = 0; i < size; i += 512) {
    std::byte& byte = contents[0].second[i];
    byte ^= std::byte{1};
    counts.push_back(of(contents) != before);
    byte ^= std::byte{1};
  }
  contents[0].second[size - 1] ^= std::byte{1};
  EXPECT_NE(of(contents), before) << "the end";
  EXPECT_TRUE(counts.front());
  EXPECT_EQ(std::ranges::count(counts, true), 16 * 4096 / 512) << "16 pieces of 4 KiB";
  size_t longest = 0, gap = 0;
  for (const bool counted : counts) {
    gap = counted ? 0 : gap + 1;
    longest = std::max(longest, gap);
  }
  EXPECT_LE(longest * 512, size / 15) << "no large part of the tensor goes unseen";
}

TEST(Fingerprint, AllOfATensorThatThePiecesWouldCoverCounts) {
  Contents contents = {{"a", some_bytes(kSampledWhole)}};
  const std::string before = of(contents);
  for (size_t i = 0; i < kSampledWhole; i += 997) {
    contents[0].second[i] ^= std::byte{0x80};
    EXPECT_NE(of(contents), before) << i;
    contents[0].second[i] ^= std::byte{0x80};
  }
}

TEST(Fingerprint, NamesShapesAndTypesCount) {
  const Contents contents = {{"a", some_bytes(64)}, {"b", some_bytes(32)}};
  const std::string before = of(contents);
  EXPECT_NE(of({{"a", contents[0].second}, {"c", contents[1].second}}), before);
  EXPECT_NE(of({{"b", contents[0].second}, {"a", contents[1].second}}), before) << "contents swapped";
  EXPECT_NE(of({contents[0]}), before);
  EXPECT_NE(of(contents, EncodingId::F32, 2), before);
  EXPECT_NE(of(contents, EncodingId::F16), of(contents, EncodingId::BF16)) << "the same bytes, read as another type";
}

TEST(Fingerprint, TheOrderInTheFileDoesNot) {
  const Contents contents = {{"a", some_bytes(64)}, {"b", some_bytes(32)}, {"c", some_bytes(128)}};
  Contents reversed(contents.rbegin(), contents.rend());
  EXPECT_EQ(of(reversed), of(contents));
}

}  // namespace
}  // namespace lowbit
