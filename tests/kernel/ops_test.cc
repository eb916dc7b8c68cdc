#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernel/support.h"

namespace lowbit {
namespace {

using test::random_floats;
using test::same_bits;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Runs f(kernels, n) for sizes around the lane counts and compares each table's result with the reference's, bit by
/// bit.
template <typename F>
void expect_same_everywhere(F f) {
  for (int64_t n : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 77, 576}) {
    const auto expected = f(*all_kernels().front(), n);
    for (const Kernels* k : all_kernels()) EXPECT_TRUE(same_bits(f(*k, n), expected)) << k->name << " n=" << n;
  }
}

TEST(Ops, EveryInstructionSetGivesTheSameBits) {
  expect_same_everywhere([](const Kernels& k, int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    k.rms_norm(random_floats(n, 1).data(), random_floats(n, 2).data(), n, 1e-5f, out.data());
    return out;
  });
  expect_same_everywhere([](const Kernels& k, int64_t n) {
    auto x = random_floats(2 * n + 3, 3);  // the last 3 are beyond the rotation
    k.rope(x.data(), random_floats(n, 4).data(), random_floats(n, 5).data(), 2 * n);
    return x;
  });
  expect_same_everywhere([](const Kernels& k, int64_t n) {
    auto gate = random_floats(n, 6, 30.0f);
    k.silu_mul(gate.data(), random_floats(n, 7).data(), n);
    return gate;
  });
  expect_same_everywhere([](const Kernels& k, int64_t n) {
    auto x = random_floats(n, 8);
    k.add(x.data(), random_floats(n, 9).data(), n);
    return x;
  });
  expect_same_everywhere([](const Kernels& k, int64_t n) {
    return std::vector<double>{k.log_sum_exp(random_floats(n, 10, 20.0f).data(), n)};
  });
  expect_same_everywhere([](const Kernels& k, int64_t n) {
    std::vector<ActivationTile> tiles(static_cast<size_t>((n + 31) / 32));
    k.quantize_row(random_floats(n, 11).data(), n, tiles.data(), 1);
    return tiles;
  });
}

TEST(Ops, HalfConversionsAreTheScalarOnes) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  auto floats = random_floats(100000, 12, 1e-3f);
  for (size_t i = 0; i < floats.size(); ++i) floats[i] *= std::exp2(static_cast<float>(i % 50) - 30);
  for (const Kernels* k : all_kernels()) {
    std::vector<float> wide(halves.size());
    k->from_f16(halves.data(), 65536, wide.data());
    for (size_t i = 0; i < halves.size(); ++i) {
      if (std::isnan(wide[i])) {
        ASSERT_TRUE(std::isnan(f16_to_f32(halves[i])));
      } else {
        ASSERT_EQ(wide[i], f16_to_f32(halves[i])) << k->name << " " << i;
      }
    }
    std::vector<uint16_t> narrow(floats.size());
    k->to_f16(floats.data(), static_cast<int64_t>(floats.size()), narrow.data());
    for (size_t i = 0; i < floats.size(); ++i)
      ASSERT_EQ(narrow[i], f32_to_f16(floats[i])) << k->name << " " << floats[i];
  }
}

TEST(Ops, QuantizeRowRoundsToTheNearest) {
  const int64_t n = 100;
  auto x = random_floats(n, 13);
  std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
  std::vector<ActivationTile> tiles(8);
  for (const Kernels* k : all_kernels()) {
    k->quantize_row(x.data(), n, tiles.data(), 2);  // every second tile belongs to another token
    for (int64_t j = 0; j < 4; ++j) {
      const ActivationTile& tile = tiles[static_cast<size_t>(2 * j)];
      int sums[2] = {0, 0};
      float most = 0;
      for (int64_t i = 0; i < 32; ++i) {
        const float value = 32 * j + i < n ? x[static_cast<size_t>(32 * j + i)] : 0.0f;
        most = std::max(most, std::abs(value));
        EXPECT_LE(std::abs(tile.scale * tile.codes[i] - value), 0.5001f * tile.scale);
        sums[i / 16] += tile.codes[i];
      }
      EXPECT_EQ(tile.scale, most / 127);
      EXPECT_EQ(tile.sum, static_cast<float>(sums[0] + sums[1]));
      EXPECT_EQ(tile.scaled_half_sum[0], tile.scale * static_cast<float>(sums[0]));
      EXPECT_EQ(tile.scaled_half_sum[1], tile.scale * static_cast<float>(sums[1]));
      EXPECT_EQ(tile.start, kDotBits - 128 * (sums[0] + sums[1]));
      EXPECT_EQ(tile.start8, kDotBits - 8 * (sums[0] + sums[1]));
      EXPECT_EQ(tile.half_start[0], kDotBits - 128 * sums[0]);
      EXPECT_EQ(tile.half_start[1], kDotBits - 128 * sums[1]);
    }
  }
}

TEST(Ops, RmsNormRopeAndSiluFollowTheirDefinitions) {
  const int64_t n = 333;
  const auto x = random_floats(n, 14), w = random_floats(n, 15);
  for (const Kernels* k : all_kernels()) {
    std::vector<float> out(static_cast<size_t>(n));
    k->rms_norm(x.data(), w.data(), n, 1e-6f, out.data());
    double squares = 0;
    for (float v : x) squares += static_cast<double>(v) * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-6);
    for (size_t i = 0; i < out.size(); ++i)
      EXPECT_NEAR(out[i], x[i] * scale * w[i], 4e-7 * std::abs(x[i] * scale * w[i]));

    auto gate = random_floats(n, 16, 20.0f);
    const auto before = gate;
    k->silu_mul(gate.data(), w.data(), n);
    for (size_t i = 0; i < gate.size(); ++i) {
      const double exact = before[i] / (1 + std::exp(-static_cast<double>(before[i]))) * w[i];
      EXPECT_NEAR(gate[i], exact, 4e-7 * std::abs(exact) + 1e-36);
    }

    const std::vector<float> cosines{0.5f, -0.25f}, sines{0.75f, 0.125f};
    std::vector<float> head{1, 2, 3, 4, 5};
    k->rope(head.data(), cosines.data(), sines.data(), 4);
    EXPECT_THAT(head, testing::ElementsAre(0.5f - 3 * 0.75f, -0.5f - 4 * 0.125f, 3 * 0.5f + 0.75f, -1 + 2 * 0.125f, 5));
  }
}

TEST(Ops, SiluAtTheEnds) {
  for (const Kernels* k : all_kernels()) {
    std::vector<float> gate{1e30f, -1e30f, 0.0f, 100.0f, -100.0f, std::nanf(""), kInfinity};
    const std::vector<float> ones(gate.size(), 1.0f);
    k->silu_mul(gate.data(), ones.data(), static_cast<int64_t>(gate.size()));
    EXPECT_EQ(gate[0], 1e30f);
    EXPECT_EQ(gate[1], 0.0f);
    EXPECT_EQ(gate[2], 0.0f);
    EXPECT_EQ(gate[3], 100.0f);
    EXPECT_EQ(gate[4], 0.0f);
    EXPECT_TRUE(std::isnan(gate[5]));
    EXPECT_EQ(gate[6], kInfinity);
  }
}

TEST(Ops, LogSumExp) {
  for (const Kernels* k : all_kernels()) {
    for (int64_t n : {1, 5, 16, 1000}) {
      const auto x = random_floats(n, 17, 50.0f);
      const double top = *std::max_element(x.begin(), x.end());
      double total = 0;
      for (float v : x) total += std::exp(v - top);
      EXPECT_NEAR(k->log_sum_exp(x.data(), n), top + std::log(total), 2e-7);
    }
    const std::vector<float> masked{-kInfinity, 3.0f, -kInfinity};
    EXPECT_EQ(k->log_sum_exp(masked.data(), 3), 3.0);
    const std::vector<float> broken{1.0f, std::nanf(""), 2.0f};
    EXPECT_TRUE(std::isnan(k->log_sum_exp(broken.data(), 3)));
  }
}

}  // namespace
}  // namespace lowbit
