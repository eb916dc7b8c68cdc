#include "kernel/block_scales.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernel/kernels.h"

namespace lowbit {
namespace {

std::vector<float> normal(size_t n) {
  std::mt19937 random(3);
  std::normal_distribution<float> draw;
  std::vector<float> x(n);
  for (float& v : x) v = draw(random);
  return x;
}

TEST(BlockScales, OfOneTileAreTheKernels) {
  std::vector<float> x = normal(1024);
  std::fill_n(x.begin() + 64, 32, 0.0f);
  std::vector<ActivationTile> a(32), b(32);
  all_kernels().front()->quantize_row(x.data(), 1024, a.data(), 1);
  quantize_row_in_blocks(x.data(), 1024, 32, b.data(), 1);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), sizeof(ActivationTile) * 32), 0);
}

TEST(BlockScales, AreSharedByAllTilesOfABlock) {
  const std::vector<float> x = normal(512);
  std::vector<ActivationTile> out(2 * 16);  // every other one, as in a group of two tokens
  quantize_row_in_blocks(x.data(), 512, 256, out.data(), 2);
  for (size_t c = 0; c < 512; ++c) {
    const ActivationTile& tile = out[c / 32 * 2];
    EXPECT_EQ(tile.scale, out[c / 256 * 16].scale);
    EXPECT_NEAR(tile.scale * tile.codes[c % 32], x[c], tile.scale * 0.5001f);
  }
  EXPECT_NE(out[0].scale, out[16].scale);
}

TEST(BlockScales, NanShows) {
  std::vector<float> x = normal(256);
  x[100] = std::numeric_limits<float>::quiet_NaN();
  std::vector<ActivationTile> out(8);
  quantize_row_in_blocks(x.data(), 256, 256, out.data(), 1);
  EXPECT_TRUE(std::isnan(out[0].scale));
}

TEST(BlockScales, AScaleThatIsGivenClips) {
  std::vector<float> x = {0.26f, -0.24f, 0.125f, 100, -100, 31.75f};  // ties to even
  x.resize(40, 0.5f);
  std::vector<ActivationTile> tiles(2);
  quantize_row_on_scale(x.data(), 40, 0.25f, tiles.data(), 1);
  const int expected[] = {1, -1, 0, 127, -127, 127};
  for (size_t c = 0; c < 6; ++c) EXPECT_EQ(tiles[0].codes[c], expected[c]) << c;
  EXPECT_EQ(tiles[1].codes[7], 2);
  EXPECT_EQ(tiles[1].codes[8], 0);
  EXPECT_EQ(tiles[1].scale, 0.25f);
  EXPECT_EQ(tiles[1].sum, 16);
  x[33] = std::numeric_limits<float>::quiet_NaN();
  quantize_row_on_scale(x.data(), 40, 0.25f, tiles.data(), 1);
  EXPECT_TRUE(std::isnan(tiles[1].scale));
}

TEST(BlockScales, OneScaleForRowsOfAnyLength) {
  constexpr int64_t kCols = 88;  // two tiles and a piece
  std::vector<float> x(kCols);
  for (int64_t c = 0; c < kCols; ++c) x[static_cast<size_t>(c)] = 0.37f * static_cast<float>(c % 11) - 1.5f;
  x[70] = -12.7f;
  std::vector<ActivationTile> tiles(3);
  quantize_row_in_blocks(x.data(), kCols, kCols, tiles.data(), 1);
  for (int64_t c = 0; c < 3 * kTileCols; ++c) {
    const ActivationTile& tile = tiles[static_cast<size_t>(c / kTileCols)];
    EXPECT_FLOAT_EQ(tile.scale, 0.1f);
    const float expected = c < kCols ? std::nearbyint(x[static_cast<size_t>(c)] * 10) : 0;
    EXPECT_EQ(tile.codes[c % kTileCols], static_cast<int>(expected)) << c;
  }
}

}  // namespace
}  // namespace lowbit
