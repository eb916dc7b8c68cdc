#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>

#include "kernel/support.h"

namespace lowbit {
namespace {

using test::decoded;
using test::random_floats;
using test::random_weights;
using test::same_bits;

const Encoding& kBf16 = encoding(EncodingId::BF16);
const Encoding& kF16 = encoding(EncodingId::F16);

std::vector<const Kernels*> with_bf16() { return test::kernels_with(ActivationForm::Bf16); }

std::vector<float> product(const Kernels& k, const PackedMatrix& w, const std::vector<float>& x, int64_t tokens,
                           ThreadPool& pool) {
  return test::fast_product(ActivationForm::Bf16, k, w, x, tokens, pool);
}

float normal_or_zero(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

/// What the instruction is said to do, one output after another.
std::vector<float> expected(const std::vector<float>& weights, const std::vector<float>& x, int64_t rows, int64_t cols,
                            int64_t tokens) {
  std::vector<float> out;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < rows; ++r) {
      float total = 0;
      const auto add = [&](int64_t c) {
        if (c >= cols) return;
        const float activation = bf16_to_f32(f32_to_bf16(normal_or_zero(x[static_cast<size_t>(t * cols + c)])));
        const float weight = bf16_to_f32(f32_to_bf16(normal_or_zero(weights[static_cast<size_t>(r * cols + c)])));
        total = normal_or_zero(std::fma(weight, activation, total));
      };
      for (int64_t c = 0; c < cols; c += 2) {
        add(c + 1);
        add(c);
      }
      out.push_back(total);
    }
  }
  return out;
}

void expect_plain_products(const Encoding& encoding, int64_t rows, int64_t cols, ThreadPool& pool) {
  const auto data = random_weights(encoding, rows, cols, 1);
  const auto weights = decoded(encoding, data, rows * cols);
  const PackedMatrix w = pack_matrix(encoding, rows, cols, data.data(), nullptr, pool);
  const int64_t most = rows == 40 ? 400 : 61;  // 400 are shared out too
  const auto x = random_floats(most * cols, 2);
  const auto all = expected(weights, x, rows, cols, most);
  for (const int64_t tokens : {1, 2, 3, 5, 8, 11, 12, 13, 24, 25, 61, 400}) {
    if (tokens > most) continue;
    const std::vector<float> some(x.begin(), x.begin() + tokens * cols);
    const std::vector<float> want(all.begin(), all.begin() + tokens * rows);
    for (const Kernels* k : with_bf16()) {
      const auto case_ = testing::Message()
                         << k->name << " " << encoding.name << " " << rows << "x" << cols << " tokens " << tokens;
      EXPECT_TRUE(same_bits(product(*k, w, some, tokens, pool), want)) << case_;
      Activations a;
      prepare_fast(*k, w, some.data(), tokens, a, pool);
      std::vector<float> out(want.size(), -777.0f);
      k->matmul_bf16(w.view(), 0, w.panels(), a.view, out.data(), rows);  // several panels at a time
      EXPECT_TRUE(same_bits(out, want)) << case_;
    }
  }
}

TEST(Bf16Products, AreThoseOfRoundedNumbers) {
  if (with_bf16().empty()) GTEST_SKIP() << "no instruction set of this machine has them";
  ThreadPool pool(2);
  struct Shape {
    int64_t rows, cols;
  };
  // The last two have panels that one token reads four at once, and more columns than go by between two visits of the
  // outputs (kBlockPairs).
  for (const auto [rows, cols] :
       {Shape{1, 1}, {15, 7}, {16, 32}, {40, 201}, {150, 64}, {17, 2100}, {122, 1101}, {33, 8197}}) {
    for (const Encoding* encoding : {&kBf16, &kF16}) expect_plain_products(*encoding, rows, cols, pool);
  }
}

/// Halves below the normal ones, the largest, and those between two BF16 numbers; infinities and NaN stay what they
/// are.
TEST(Bf16Products, RoundEveryHalfAsWeightsOfThatTypeAre) {
  if (with_bf16().empty()) GTEST_SKIP() << "no instruction set of this machine has them";
  ThreadPool pool(1);
  const int64_t rows = 1 << 16, cols = 3;
  const auto bytes = [](const std::vector<uint16_t>& v) { return std::as_bytes(std::span(v)).data(); };
  const std::vector<float> x(2 * cols, 1.0f);
  for (int64_t column = 0; column < cols; ++column) {  // the others are 0
    std::vector<uint16_t> halves(static_cast<size_t>(rows * cols)), brains(halves.size());
    for (int64_t row = 0; row < rows; ++row) {
      const auto half = static_cast<uint16_t>(row);
      halves[static_cast<size_t>(row * cols + column)] = half;
      brains[static_cast<size_t>(row * cols + column)] = f32_to_bf16(f16_to_f32(half));
    }
    const PackedMatrix w = pack_matrix(kF16, rows, cols, bytes(halves), nullptr, pool);
    const PackedMatrix rounded = pack_matrix(kBf16, rows, cols, bytes(brains), nullptr, pool);
    for (const Kernels* k : with_bf16()) {
      for (const int64_t tokens : {1, 2}) {
        const std::vector<float> some(x.begin(), x.begin() + tokens * cols);
        const auto out = product(*k, w, some, tokens, pool), want = product(*k, rounded, some, tokens, pool);
        for (size_t i = 0; i < out.size(); ++i) {
          const bool same = std::isnan(want[i]) ? std::isnan(out[i]) : out[i] == want[i];
          ASSERT_TRUE(same) << i << " of column " << column << ": " << out[i] << ", not " << want[i];
        }
      }
    }
  }
}

TEST(Bf16Products, TakeTinyNumbersForZeroAndShowNan) {
  if (with_bf16().empty()) GTEST_SKIP() << "no instruction set of this machine has them";
  ThreadPool pool(1);
  const int64_t rows = 16, cols = 64;
  const auto tiny = random_weights(kBf16, rows, cols, 3, 1e-20f);
  const PackedMatrix w = pack_matrix(kBf16, rows, cols, tiny.data(), nullptr, pool);
  const auto weights = decoded(kBf16, tiny, rows * cols);
  const auto tiniest = random_weights(kBf16, rows, cols, 5, 1e-39f);
  const PackedMatrix subnormal = pack_matrix(kBf16, rows, cols, tiniest.data(), nullptr, pool);
  const auto large = random_floats(cols, 6, 1e20f);
  for (const Kernels* k : with_bf16()) {
    for (const float size : {1e-39f, 1e-18f}) {  // below normal numbers; products and sums are
      const auto x = random_floats(cols, 4, size);
      EXPECT_TRUE(same_bits(product(*k, w, x, 1, pool), expected(weights, x, rows, cols, 1))) << size;
    }
    EXPECT_TRUE(same_bits(product(*k, subnormal, large, 1, pool),
                          expected(decoded(kBf16, tiniest, rows * cols), large, rows, cols, 1)));
    std::vector<float> x(static_cast<size_t>(2 * cols), 1.0f);
    x[33] = std::nanf("");
    const auto out = product(*k, w, x, 2, pool);
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_TRUE(std::isnan(out[static_cast<size_t>(r)]));
      EXPECT_TRUE(std::isfinite(out[static_cast<size_t>(rows + r)])) << "and only in its own token";
    }
  }
}

TEST(Bf16Products, AreRefusedForOtherWeights) {
  if (with_bf16().empty()) GTEST_SKIP() << "no instruction set of this machine has them";
  ThreadPool pool(1);
  const Kernels& k = *with_bf16().front();
  const Encoding& f32 = encoding(EncodingId::F32);
  const auto a = random_weights(kBf16, 16, 64, 1), b = random_weights(f32, 16, 64, 1);
  const PackedMatrix w = pack_matrix(kBf16, 16, 64, a.data(), nullptr, pool);
  const PackedMatrix other = pack_matrix(f32, 16, 64, b.data(), nullptr, pool);
  const auto x = random_floats(64, 2);
  std::vector<float> out(16);
  Activations activations;
  prepare_fast(k, w, x.data(), 1, activations, pool);
  EXPECT_THROW(matmul(k, other, activations, out.data(), pool), std::logic_error);
  EXPECT_THROW(matmul(*all_kernels().front(), w, activations, out.data(), pool), std::logic_error);
  prepare_fast(k, other, x.data(), 1, activations, pool);
  EXPECT_EQ(activations.form, ActivationForm::Floats);
  prepare_fast(*all_kernels().front(), w, x.data(), 1, activations, pool);
  EXPECT_EQ(activations.form, ActivationForm::Floats);
}

}  // namespace
}  // namespace lowbit
