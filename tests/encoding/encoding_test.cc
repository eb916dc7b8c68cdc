#include "encoding/encoding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace lowbit {
namespace {

std::vector<const Encoding*> block_encodings() {
  std::vector<const Encoding*> out;
  for (const Encoding& e : encodings()) {
    if (e.kind == EncodingKind::Block) out.push_back(&e);
  }
  return out;
}

class EachEncoding : public testing::TestWithParam<const Encoding*> {};

INSTANTIATE_TEST_SUITE_P(Block, EachEncoding, testing::ValuesIn(block_encodings()),
                         [](const auto& row) { return std::string(row.param->name); });

TEST_P(EachEncoding, DecodesAsTheOriginalDoes) {
  const Encoding& e = *GetParam();
  if (e.run_only) return;  // nobody else has it
  std::ifstream in(std::string(LOWBIT_TEST_DATA "/encodings/") + std::string(e.name) + ".bin", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const size_t block = static_cast<size_t>(e.block_bytes) + 4 * static_cast<size_t>(e.block);
  ASSERT_EQ(file.size() % block, 0u);
  const size_t count = file.size() / block;
  ASSERT_EQ(count, 24u);
  const auto values = static_cast<int64_t>(count) * e.block;
  std::vector<float> expected(static_cast<size_t>(values)), got(expected.size());
  std::memcpy(expected.data(), file.data() + count * static_cast<size_t>(e.block_bytes), 4 * expected.size());
  decode(e, reinterpret_cast<const std::byte*>(file.data()), values, got.data());
  EXPECT_EQ(std::memcmp(got.data(), expected.data(), 4 * got.size()), 0);
}

// Every pattern of bytes is a valid block, so that a round trip must restore any of them.
TEST_P(EachEncoding, PackUndoesUnpack) {
  const Encoding& e = *GetParam();
  std::mt19937 random(27);
  std::vector<std::byte> in(static_cast<size_t>(e.block_bytes)), out(in.size());
  for (int round = 0; round < 2000; ++round) {
    for (std::byte& b : in) b = static_cast<std::byte>(random());
    BlockHeader header;
    uint8_t codes[kMaxBlock];
    e.unpack(in.data(), header, codes);
    for (int i = 0; i < e.block; ++i) ASSERT_LT(codes[i], e.levels.size());
    e.pack(header, codes, out.data());
    ASSERT_EQ(in, out);
  }
}

// What can be stored exactly is stored exactly: snapping a grid gives that grid again.
TEST_P(EachEncoding, SnapIsStableOnItsOwnGrid) {
  const Encoding& e = *GetParam();
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(0.01F, 1.0F);
  for (int round = 0; round < 200; ++round) {
    BlockWish wish;
    for (int s = 0; s < e.sub_blocks(); ++s) {
      wish.scale[static_cast<size_t>(s)] = uniform(random);
      wish.min[static_cast<size_t>(s)] = e.has_min ? uniform(random) : 0;
      wish.importance[static_cast<size_t>(s)] = 1;
    }
    const BlockGrid once = e.grid(e.snap(wish));
    wish.scale = once.scale;
    wish.min = once.min;
    const BlockGrid twice = e.grid(e.snap(wish));
    for (int s = 0; s < e.sub_blocks(); ++s) {
      const auto at = static_cast<size_t>(s);
      ASSERT_NEAR(twice.scale[at], once.scale[at], 2e-3F * std::fabs(once.scale[at]) + 1e-7F);
      ASSERT_NEAR(twice.min[at], once.min[at], 2e-3F * std::fabs(once.min[at]) + 1e-7F);
    }
  }
}

TEST_P(EachEncoding, SnapNeverGivesInfinity) {
  const Encoding& e = *GetParam();
  BlockWish wish;
  wish.scale.fill(1e30F);
  wish.min.fill(e.has_min ? 1e30F : 0);
  const BlockGrid grid = e.grid(e.snap(wish));
  for (int s = 0; s < e.sub_blocks(); ++s) {
    EXPECT_TRUE(std::isfinite(grid.scale[static_cast<size_t>(s)]));
    EXPECT_TRUE(std::isfinite(grid.min[static_cast<size_t>(s)]));
  }
  wish = {};
  const BlockGrid zero = e.grid(e.snap(wish));
  EXPECT_EQ(zero.scale[0], 0);
}

TEST(Encoding, RowsAreInOrderAndFoundByName) {
  for (const Encoding& e : encodings()) {
    EXPECT_EQ(&encoding(e.id), &e);
    EXPECT_EQ(find_encoding(e.name), &e);
  }
  EXPECT_EQ(find_encoding("q4_k"), &encoding(EncodingId::Q4_K));
  EXPECT_EQ(find_encoding("Q4"), nullptr);
  EXPECT_DOUBLE_EQ(encoding(EncodingId::Q4_K).bits_per_weight(), 4.5);
  EXPECT_EQ(encoding(EncodingId::Q6_K).bytes(512), 420u);
}

TEST(Encoding, FloatsRoundToNearestEven) {
  const float in[] = {1.0F, 1.00048828125F, 65520.0F, -0.0F, 1e-8F};
  std::byte out[sizeof in];
  float back[5];
  encode_float(encoding(EncodingId::F16), in, 5, out);
  decode(encoding(EncodingId::F16), out, 5, back);
  EXPECT_EQ(back[0], 1.0F);
  EXPECT_EQ(back[1], 1.0F);  // a tie goes to the even neighbour
  EXPECT_TRUE(std::isinf(back[2]));
  EXPECT_TRUE(std::signbit(back[3]));
  EXPECT_EQ(back[4], 0.0F);
  encode_float(encoding(EncodingId::BF16), in, 5, out);
  decode(encoding(EncodingId::BF16), out, 5, back);
  EXPECT_EQ(back[1], 1.0F);
}

}  // namespace
}  // namespace lowbit
