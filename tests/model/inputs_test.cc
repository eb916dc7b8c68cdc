// Inputs that are rounded as a file asks, against the plain definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "model/layer_pass.h"
#include "model/tiny_model.h"

namespace lowbit {
namespace {

constexpr int64_t kRows = 48, kCols = 160, kTokens = 9;

std::vector<float> normal(int64_t n, unsigned seed, float size) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0, size);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = draw(random);
  return out;
}

class Rounding : public testing::Test {
 protected:
  Rounding() {
    const Encoding& e = encoding(EncodingId::Q8_0);
    std::vector<std::byte> bytes(e.bytes(kRows * kCols));
    const std::vector<float> values = normal(kRows * kCols, 1, 0.05F);
    for (int64_t b = 0; b < kRows * kCols / 32; ++b) {
      BlockHeader header;
      header.d = f32_to_f16(0.002F);
      uint8_t codes[32];
      for (int i = 0; i < 32; ++i) {
        codes[i] = static_cast<uint8_t>(128 + std::clamp(std::lrint(values[b * 32 + i] / 0.002F), -127L, 127L));
      }
      e.pack(header, codes, bytes.data() + b * e.block_bytes);
    }
    weights_.resize(values.size());
    decode(e, bytes.data(), kRows * kCols, weights_.data());
    linear_.w = pack_matrix(e, kRows, kCols, bytes.data(), nullptr, pool_);
    x_ = normal(kTokens * kCols, 2, 1);
    // A channel that is always large, one that is now and then, and a token without any.
    for (int64_t t = 0; t < kTokens - 1; ++t) x_[static_cast<size_t>(t * kCols + 37)] = 20.0F + static_cast<float>(t);
    x_[3 * kCols + 90] = -6;
    for (int64_t c = 0; c < kCols; ++c) {
      float& x = x_[(kTokens - 1) * kCols + c];
      x = std::clamp(x, -3.0F, 3.0F);
    }
  }

  std::vector<float> product(std::span<const float> x) {
    const auto tokens = static_cast<int64_t>(x.size()) / kCols;
    std::vector<float> out(static_cast<size_t>(tokens * kRows));
    LayerPass pass(tiny_config(), pool_, ActivationRounding::Fine);
    pass.multiply({{&linear_, out.data()}}, x.data(), tokens, nullptr);
    return out;
  }

  /// Products of inputs that have been rounded, in binary64.
  std::vector<float> plain(const std::vector<double>& rounded) const {
    std::vector<float> out;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t r = 0; r < kRows; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < kCols; ++c) {
          sum += rounded[static_cast<size_t>(t * kCols + c)] *
                 static_cast<double>(weights_[static_cast<size_t>(r * kCols + c)]);
        }
        out.push_back(static_cast<float>(sum));
      }
    }
    return out;
  }

  static void expect_near(const std::vector<float>& a, const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-5F * (1 + std::fabs(b[i]))) << i;
  }

  ThreadPool pool_{2};
  std::vector<float> weights_, x_;
  Linear linear_;
};

/// Dettmers et al., arXiv 2208.07339: vector-wise int8 beside the outliers in floats.
TEST_F(Rounding, OutliersAreMultipliedAsTheyAre) {
  linear_.inputs = {InputRounding::Scales::Token, 0, 6};
  std::vector<double> rounded(x_.size());
  for (int64_t t = 0; t < kTokens; ++t) {
    const float* x = &x_[static_cast<size_t>(t * kCols)];
    float most = 0;
    for (int64_t c = 0; c < kCols; ++c) most = std::fabs(x[c]) < 6 ? std::max(most, std::fabs(x[c])) : most;
    for (int64_t c = 0; c < kCols; ++c) {
      const double step = static_cast<double>(most) / 127;
      rounded[static_cast<size_t>(t * kCols + c)] =
          std::fabs(x[c]) < 6 ? step * std::nearbyint(static_cast<double>(x[c]) / step) : static_cast<double>(x[c]);
    }
  }
  expect_near(product(x_), plain(rounded));
}

TEST_F(Rounding, ATokensOutliersAreItsOwn) {
  linear_.inputs = {InputRounding::Scales::Token, 0, 6};
  const std::vector<float> all = product(x_);
  for (int64_t t = 0; t < kTokens; ++t) {
    const std::vector<float> one = product(std::span(x_).subspan(static_cast<size_t>(t * kCols), kCols));
    for (int64_t r = 0; r < kRows; ++r) {
      ASSERT_EQ(one[static_cast<size_t>(r)], all[static_cast<size_t>(t * kRows + r)]);
    }
  }
}

TEST_F(Rounding, WithoutAThresholdThereAreNone) {
  linear_.inputs = {InputRounding::Scales::Token, 0, 0};
  const std::vector<float> none = product(x_);
  linear_.inputs.outlier = 1000;
  EXPECT_EQ(none, product(x_));
  linear_.inputs.outlier = 6;
  EXPECT_NE(none, product(x_));
}

TEST_F(Rounding, AScaleThatTheFileHoldsClips) {
  linear_.inputs = {InputRounding::Scales::Fixed, 0.03125F, 0};
  std::vector<double> rounded(x_.size());
  for (size_t i = 0; i < x_.size(); ++i) {
    rounded[i] = 0.03125 * std::clamp(std::nearbyint(static_cast<double>(x_[i]) / 0.03125), -127.0, 127.0);
  }
  expect_near(product(x_), plain(rounded));
}

TEST_F(Rounding, MatricesThatAskForDifferentRoundingsAreMultipliedApart) {
  Linear other;
  other.w = pack_matrix(encoding(EncodingId::F32), kRows, kCols, reinterpret_cast<const std::byte*>(weights_.data()),
                        nullptr, pool_);
  linear_.inputs = {InputRounding::Scales::Fixed, 0.03125F, 0};
  const std::vector<float> alone = product(x_);
  std::vector<float> a(alone.size()), b(alone.size()), c(alone.size());
  LayerPass pass(tiny_config(), pool_, ActivationRounding::Fine);
  pass.multiply({{&linear_, a.data()}, {&other, b.data()}, {&linear_, c.data()}}, x_.data(), kTokens, nullptr);
  EXPECT_EQ(a, alone);
  EXPECT_EQ(c, alone);
  std::vector<double> whole(x_.begin(), x_.end());
  expect_near(b, plain(whole));
}

/// What models are run with, and what they are judged by.
TEST_F(Rounding, OnlyFastRoundsAsIsFastest) {
  constexpr int64_t kRow = 256;
  const std::vector<float> weights = normal(kRows * kRow, 3, 0.05F), x = normal(kTokens * kRow, 4, 1);
  const auto packed = [&](EncodingId id) {
    const Encoding& e = encoding(id);
    std::vector<std::byte> bytes(e.bytes(kRows * kRow));
    if (e.kind == EncodingKind::Float) {
      encode_float(e, weights.data(), kRows * kRow, bytes.data());
    } else {
      std::mt19937 random(5);
      for (std::byte& b : bytes) b = static_cast<std::byte>(random() & 0x3b);  // no scale is infinite
    }
    Linear out;
    out.w = pack_matrix(e, kRows, kRow, bytes.data(), nullptr, pool_);
    return out;
  };
  const std::vector<Linear> all = [&] {
    std::vector<Linear> out;
    for (const EncodingId id : {EncodingId::BF16, EncodingId::Q4_K, EncodingId::F16, EncodingId::Q8_0}) {
      out.push_back(packed(id));
    }
    return out;
  }();
  const auto products = [&](ActivationRounding rounding) {
    std::vector<std::vector<float>> out(all.size(), std::vector<float>(static_cast<size_t>(kTokens * kRows)));
    LayerPass pass(tiny_config(), pool_, rounding);
    pass.multiply(
        {{&all[0], out[0].data()}, {&all[1], out[1].data()}, {&all[2], out[2].data()}, {&all[3], out[3].data()}},
        x.data(), kTokens, nullptr);
    return out;
  };
  const auto alone = [&](const Linear& linear, bool fast) {
    Activations a;
    std::vector<float> out(static_cast<size_t>(kTokens * kRows));
    (fast ? prepare_fast(kernels(), linear.w, x.data(), kTokens, a, pool_)
          : prepare(kernels(), linear.w, x.data(), kTokens, a, pool_));
    matmul(kernels(), linear.w, a, out.data(), pool_);
    return out;
  };
  const auto fine = products(ActivationRounding::Fine), fast = products(ActivationRounding::Fast);
  for (size_t i = 0; i < all.size(); ++i) {
    const ActivationForm form = kernels().fastest(all[i].w.view().family);
    EXPECT_EQ(fine[i], alone(all[i], false)) << i;
    EXPECT_EQ(fast[i], alone(all[i], true)) << i;
    EXPECT_EQ(fast[i] != fine[i], form == ActivationForm::Bf16 || form == ActivationForm::Chunks) << i;
  }
  EXPECT_EQ(products(ActivationRounding::LlamaCpp)[0], fine[0]);
}

}  // namespace
}  // namespace lowbit
