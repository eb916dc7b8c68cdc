#include "container/imatrix.h"

#include <limits>

#include "container_testing.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ImportanceMatrix sample() {
  ImportanceMatrix m;
  m.entries["blk.0.attn_q.weight"] = {{2, 4, 6}, {2}};
  m.entries["blk.0.ffn_gate_exps.weight"] = {{1, 2, 3, 4, 5, 6}, {2, 0, 4}};
  m.datasets = {"wiki.txt", "code.txt"};
  m.chunk_count = 3;
  m.chunk_size = 512;
  return m;
}

/// llama.cpp's old format, with the entries of `m` that have one count.
Bytes old_format(const ImportanceMatrix& m) {
  Bytes bytes;
  const auto text = [&](const std::string& s) { bytes.number<int32_t>(static_cast<int32_t>(s.size())).raw(s); };
  bytes.number<int32_t>(1);
  for (const auto& [name, entry] : m.entries) {
    if (entry.counts.size() != 1) continue;
    text(name);
    bytes.number<int32_t>(static_cast<int32_t>(entry.counts[0]))
        .number<int32_t>(static_cast<int32_t>(entry.sums.size()));
    for (const float x : entry.sums) bytes.number(x);
  }
  bytes.number<int32_t>(static_cast<int32_t>(m.chunk_count));
  text(m.datasets[0]);
  return bytes;
}

class ImatrixTest : public ContainerTest {
 protected:
  std::string refusal(const ImportanceMatrix& m) const {
    return error_of([&] { write_imatrix(path("bad.gguf"), m); });
  }
};

TEST_F(ImatrixTest, RoundTrip) {
  const ImportanceMatrix m = sample();
  write_imatrix(path("m.gguf"), m);
  const ImportanceMatrix read = read_imatrix(path("m.gguf"));
  ASSERT_EQ(read.entries.size(), 2u);
  for (const auto& [name, entry] : m.entries) {
    EXPECT_EQ(read.entries.at(name).sums, entry.sums);
    EXPECT_EQ(read.entries.at(name).counts, entry.counts);
  }
  EXPECT_EQ(read.datasets, m.datasets);
  EXPECT_EQ(read.chunk_count, 3u);
  EXPECT_EQ(read.chunk_size, 512u);
}

TEST_F(ImatrixTest, MeansAreSumsOverCounts) {
  const ImportanceMatrix m = sample();
  EXPECT_THAT(m.find("blk.0.attn_q.weight", 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(m.find("blk.0.ffn_gate_exps.weight", 2), ElementsAre(0.5f, 1, 1, 1, 1.25f, 1.5f)) << "no token: 1";
  EXPECT_THAT(m.find("absent", 3), IsEmpty());
  EXPECT_THAT(error_of([&] { m.find("blk.0.attn_q.weight", 4); }),
              AllOf(HasSubstr("4 columns"), HasSubstr("another model")));
}

TEST_F(ImatrixTest, Combine) {
  ImportanceMatrix m = sample();
  ImportanceMatrix other;
  other.entries["blk.0.attn_q.weight"] = {{8, 8, 8}, {2}};
  other.entries["new"] = {{9}, {3}};
  other.datasets = {"more.txt"};
  other.chunk_count = 2;
  other.chunk_size = 512;
  m.combine(other);
  EXPECT_THAT(m.find("blk.0.attn_q.weight", 3), ElementsAre(2.5f, 3, 3.5f));
  EXPECT_THAT(m.find("new", 1), ElementsAre(3));
  EXPECT_THAT(m.datasets, ElementsAre("wiki.txt", "code.txt", "more.txt"));
  EXPECT_EQ(m.chunk_count, 5u);
  other.entries["new"] = {{9, 9}, {3}};
  EXPECT_THAT(error_of([&] { m.combine(other); }), HasSubstr("new"));

  ImportanceMatrix all;
  all.combine(sample());
  EXPECT_EQ(all.chunk_size, 512u);
  EXPECT_THAT(all.find("blk.0.attn_q.weight", 3), ElementsAre(1, 2, 3));
}

TEST_F(ImatrixTest, ChunksBecomeTokensWhenCombined) {
  ImportanceMatrix old;  // 2 chunks with the mean 5, of a size that the old format does not tell
  old.entries["w"] = {{10}, {2}};
  ImportanceMatrix tokens;  // 512 tokens = 1 chunk with the mean 2
  tokens.entries["w"] = {{1024}, {512}};
  tokens.chunk_size = 512;
  ImportanceMatrix a = old, b = tokens;
  a.combine(tokens);
  b.combine(old);
  EXPECT_THAT(a.find("w", 1), ElementsAre(4));
  EXPECT_THAT(b.find("w", 1), ElementsAre(4));
}

TEST_F(ImatrixTest, OldFormat) {
  const ImportanceMatrix read = read_imatrix(put("m.dat", old_format(sample())));
  ASSERT_EQ(read.entries.size(), 1u);
  EXPECT_THAT(read.find("blk.0.attn_q.weight", 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(read.datasets, ElementsAre("wiki.txt"));
  EXPECT_EQ(read.chunk_count, 3u);
  EXPECT_EQ(read.chunk_size, 0u);
}

TEST_F(ImatrixTest, EveryTruncationOfTheOldFormatIsRefusedOrSafe) {
  const std::string whole = old_format(sample());
  const size_t entries = whole.size() - 4 - 4 - std::string("wiki.txt").size();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string message = error_of([&] { read_imatrix(put("m.dat", whole.substr(0, size))); });
    const bool optional_part_is_whole = size == entries || size == entries + 4;
    EXPECT_EQ(message.empty(), optional_part_is_whole) << size << ": " << message;
  }
  EXPECT_NE(error_of([&] { read_imatrix(put("m.dat", whole + "x")); }), "");
}

TEST_F(ImatrixTest, EveryCorruptByteIsRefusedOrSafe) {
  write_imatrix(path("m.gguf"), sample());
  for (const std::string& whole : {std::string(old_format(sample())), get("m.gguf")}) {
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int flip : {0x01, 0x40, 0x80, 0xff}) {
        std::string bad = whole;
        bad[at] = static_cast<char>(bad[at] ^ flip);
        error_of([&] {
          const ImportanceMatrix read = parse_imatrix(std::as_bytes(std::span(bad)), "bad");
          for (const auto& [name, entry] : read.entries) {
            EXPECT_EQ(entry.mean_square().size(), entry.sums.size());
            EXPECT_EQ(entry.sums.size() % entry.counts.size(), 0u);
          }
        });
      }
    }
  }
}

TEST_F(ImatrixTest, UnsoundNumbersAreRefused) {
  for (const float bad : {-1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    ImportanceMatrix m = sample();
    m.entries["blk.0.attn_q.weight"].sums[1] = bad;
    EXPECT_THAT(refusal(m), HasSubstr("blk.0.attn_q.weight"));
    EXPECT_THAT(error_of([&] { read_imatrix(put("m.dat", old_format(m))); }), HasSubstr("blk.0.attn_q.weight"));
  }
  ImportanceMatrix m = sample();
  m.entries["blk.0.ffn_gate_exps.weight"].counts = {1, 2, 3, 4};
  EXPECT_THAT(refusal(m), HasSubstr("do not match"));
  EXPECT_FALSE(std::filesystem::exists(path("bad.gguf")));
}

TEST_F(ImatrixTest, WhatIsNoImatrixIsRefused) {
  const auto refused = [&](const GgufMetadata& metadata, const std::vector<TensorInfo>& plan) {
    {
      GgufWriter writer(path("x.gguf"), metadata, plan);
      for (size_t i = 0; i < plan.size(); ++i) writer.write(i, 0, std::vector<std::byte>(plan[i].bytes));
      writer.finish();
    }
    return error_of([&] { read_imatrix(path("x.gguf")); });
  };
  GgufMetadata metadata;
  metadata.set("general.architecture", std::string("llama"));
  EXPECT_THAT(refused(metadata, {}), HasSubstr("not an importance matrix"));
  metadata.set("general.type", std::string("imatrix"));
  EXPECT_THAT(refused(metadata, {}), HasSubstr("imatrix.datasets is missing"));
  auto datasets = std::make_shared<GgufArray>();
  datasets->items = std::vector<std::string>{"a"};
  metadata.set("imatrix.datasets", datasets);
  metadata.set("imatrix.chunk_count", uint32_t{1});
  EXPECT_THAT(refused(metadata, {}), HasSubstr("imatrix.chunk_size is missing"));
  metadata.set("imatrix.chunk_size", uint32_t{1});
  EXPECT_THAT(refused(metadata, {}), HasSubstr("no entries"));
  EXPECT_THAT(refused(metadata, {tensor_of("w.in_sum2", {2}, EncodingId::F32)}), HasSubstr("0 counts"));
  EXPECT_THAT(refused(metadata, {tensor_of("w.in_sum2", {2}, EncodingId::F16)}), HasSubstr("F16"));
  EXPECT_THAT(refused(metadata, {tensor_of("w", {2}, EncodingId::F32)}), HasSubstr("tensor w"));
  metadata.set("imatrix.chunk_size", int64_t{-1});
  EXPECT_THAT(refused(metadata, {}), HasSubstr("chunk_size"));
  EXPECT_THAT(error_of([&] { read_imatrix(put("empty", "")); }), HasSubstr("no importance matrix"));
  EXPECT_THAT(error_of([&] { read_imatrix(put("text", "some prose")); }), HasSubstr("no importance matrix"));
}

}  // namespace
}  // namespace lowbit
