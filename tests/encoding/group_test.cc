#include "encoding/group.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace lowbit {
namespace {

GroupMatrix random_matrix(const GroupFormat& format, int64_t rows, int64_t cols, unsigned seed) {
  GroupMatrix m;
  m.format = format;
  m.rows = rows;
  m.cols = cols;
  m.resize();
  std::mt19937 random(seed);
  for (uint8_t& code : m.codes) code = static_cast<uint8_t>(random() % static_cast<unsigned>(format.codes()));
  for (float& s : m.scales) s = snap_number(format, 0.01F + 1e-3F * static_cast<float>(random() % 100));
  for (float& z : m.zeros) z = snap_zero(format, static_cast<float>(random() % 10));
  return m;
}

TEST(GroupMatrix, AShortLastGroupHasItsOwnScale) {
  GroupFormat format;
  format.group = 48;
  GroupMatrix m = random_matrix(format, 2, 100, 1);
  ASSERT_EQ(groups_per_row(format, 100), 3);
  ASSERT_EQ(m.scales.size(), 6U);
  std::vector<float> out(200);
  decode(m, out.data());
  EXPECT_EQ(out[47], m.scales[0] * (static_cast<float>(m.codes[47]) - 8));
  EXPECT_EQ(out[48], m.scales[1] * (static_cast<float>(m.codes[48]) - 8));
  EXPECT_EQ(out[99], m.scales[2] * (static_cast<float>(m.codes[99]) - 8));
  EXPECT_EQ(out[100], m.scales[3] * (static_cast<float>(m.codes[100]) - 8));
}

TEST(GroupMatrix, FlatGroupsRunOverTheEndsOfRows) {
  GroupFormat format{4, GroupLevels::NF4, GroupZero::Fixed, GroupSpan::Flat, 64, EncodingId::F32};
  GroupMatrix m = random_matrix(format, 3, 96, 2);
  ASSERT_EQ(m.scales.size(), 5U);
  std::vector<float> out(3 * 96);
  decode(m, out.data());
  for (const size_t i : {0U, 63U, 64U, 95U, 96U, 127U, 128U, 287U}) {
    EXPECT_EQ(out[i], m.scales[i / 64] * group_levels(format)[m.codes[i]]) << i;
  }
}

TEST(GroupMatrix, ColumnsGoToTheirGroups) {
  GroupFormat format{4, GroupLevels::Integer, GroupZero::Integer, GroupSpan::Row, 4, EncodingId::F16};
  GroupMatrix m = random_matrix(format, 1, 8, 3);
  m.group_of_column = {1, 0, 1, 0, 0, 1, 0, 1};
  std::vector<float> out(8);
  decode(m, out.data());
  EXPECT_EQ(out[0], m.scales[1] * (static_cast<float>(m.codes[0]) - m.zeros[1]));
  EXPECT_EQ(out[1], m.scales[0] * (static_cast<float>(m.codes[1]) - m.zeros[0]));
}

TEST(GroupMatrix, ZerosKeepToTheFormatsRange) {
  GroupFormat format;
  EXPECT_EQ(snap_zero(format, 3.0F), 8.0F);
  format.zero = GroupZero::Integer;
  format.lowest_zero = 1;
  EXPECT_EQ(snap_zero(format, -3.2F), 1.0F);
  EXPECT_EQ(snap_zero(format, 99.0F), 15.0F);
  EXPECT_EQ(snap_zero(format, 6.6F), 7.0F);
  format.zero = GroupZero::Float;
  EXPECT_EQ(snap_zero(format, 6.5F), 6.5F);
  EXPECT_TRUE(std::isfinite(snap_number(format, 1e30F)));
}

TEST(GroupMatrix, BitsPerWeightCountScalesAndZeros) {
  GroupFormat format;
  format.group = 128;
  EXPECT_DOUBLE_EQ(bits_per_weight(format, 256, 1024), 4.125);
  format.zero = GroupZero::Integer;
  EXPECT_DOUBLE_EQ(bits_per_weight(format, 256, 1024), 4.15625);
  GroupFormat nf4{4, GroupLevels::NF4, GroupZero::Fixed, GroupSpan::Flat, 64, EncodingId::F32, 0, true};
  EXPECT_DOUBLE_EQ(bits_per_weight(nf4, 256, 1024), 4 + 8.0 / 64 + 32.0 / 64 / 256);
}

TEST(QuantizedScales, TheMapIsBitsandbytes) {
  const std::span<const float> map = dynamic_map();
  ASSERT_EQ(map.size(), 256U);
  EXPECT_FLOAT_EQ(map[0], -0.99296874F);
  EXPECT_EQ(map[127], 0.0F);
  EXPECT_EQ(map[255], 1.0F);
  for (size_t i = 1; i < 256; ++i) EXPECT_LT(map[i - 1], map[i]);
}

TEST(QuantizedScales, EachScaleGetsTheNearestEntry) {
  std::mt19937 random(4);
  std::uniform_real_distribution<float> uniform(0.01F, 0.3F);
  std::vector<float> scales(700);
  for (float& s : scales) s = uniform(random);
  const QuantizedScales q = quantize_scales(scales);
  ASSERT_EQ(q.block_scale.size(), 3U);
  const std::vector<float> back = dequantize_scales(q);
  for (size_t i = 0; i < scales.size(); ++i) {
    for (const float entry : dynamic_map()) {
      const float other = entry * q.block_scale[i / 256] + q.offset;
      ASSERT_LE(std::fabs(back[i] - scales[i]), std::fabs(other - scales[i]) + 1e-6F) << i;
    }
  }
  EXPECT_TRUE(quantize_scales({}).codes.empty());
}

}  // namespace
}  // namespace lowbit
