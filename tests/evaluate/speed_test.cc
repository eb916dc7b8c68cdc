#include "evaluate/speed.h"

#include <gtest/gtest.h>

#include "kernel/peak.h"
#include "model/tiny_model.h"

namespace lowbit {
namespace {

TEST(SpeedTest, NamesAreThoseOfLlamaBench) {
  EXPECT_EQ((SpeedTest{512, 0}).name(), "pp512");
  EXPECT_EQ((SpeedTest{0, 128, 1, 4096}).name(), "tg128 @ d4096");
  EXPECT_EQ((SpeedTest{512, 128, 8, 1}).name(), "pp512+tg128 x8 @ d1");
}

TEST(SpeedTest, TheWorkOfAPassIsCountedExactly) {
  TinyOptions options;
  options.config = tiny_config(256, 2, 80);
  options.matrices = &encoding(EncodingId::Q4_K);
  const TinyModel tiny(options);
  ThreadPool pool(2);
  Transformer model(tiny.source, pool);
  MachineLimits limits(pool);
  const ModelConfig& c = model.config();
  const SpeedResult result = measure_speed(model, tiny.source, {0, 2, 3, 5}, 2, limits);

  EXPECT_EQ(result.seconds.size(), 2u);
  ASSERT_EQ(result.passes.size(), 2u);
  // Three sequences, one token of each; the second of them attends to 5 + 1 + itself.
  const int64_t layer =
      2 * c.hidden * c.heads * c.head_dim + 2 * c.hidden * c.kv_heads * c.head_dim + 3 * c.hidden * c.ffn;
  const double weights = static_cast<double>(c.layers * layer + c.vocab * c.hidden);
  EXPECT_EQ(result.passes[1].code_operations, 2 * 3 * weights);
  EXPECT_EQ(result.passes[1].float_operations, static_cast<double>(c.layers * 3 * 7 * 4 * c.heads * c.head_dim));
  EXPECT_EQ(result.passes[1].bytes, static_cast<double>(model.weight_bytes()) +
                                        static_cast<double>(c.layers * 3 * 7 * 2 * 2 * c.kv_heads * c.head_dim));
  EXPECT_EQ(result.passes[0].bytes + static_cast<double>(c.layers * 3 * 2 * 2 * c.kv_heads * c.head_dim),
            result.passes[1].bytes);

  const double mean = (6 / result.seconds[0] + 6 / result.seconds[1]) / 2;
  EXPECT_DOUBLE_EQ(result.tokens_per_second(), mean);
  const double least = result.passes[0].bytes / limits.read_bytes();
  EXPECT_GE(result.fraction_of_limit(limits), 2 * least * mean / 6 * (1 - 1e-9));
}

TEST(SpeedTest, SixteenBitWeightsAreHeldAgainstTheirOwnLimit) {
  ThreadPool pool(2);
  MachineLimits limits(pool);
  const auto work_of = [&](EncodingId type, ActivationRounding rounding) {
    TinyOptions options;
    options.config = tiny_config(64, 2, 80);
    options.matrices = &encoding(type);
    const TinyModel tiny(options);
    Transformer model(tiny.source, pool, rounding);
    return measure_speed(model, tiny.source, {4, 0}, 1, limits).passes.at(0);
  };
  const PassWork exact = work_of(EncodingId::BF16, ActivationRounding::Fine);
  EXPECT_EQ(exact.bf16_operations, 0);
  EXPECT_EQ(limits.bf16_operations() > 0, peaks().bf16 != nullptr);
  for (const EncodingId type : {EncodingId::BF16, EncodingId::F16, EncodingId::F32}) {
    const PassWork work = work_of(type, ActivationRounding::Fast);
    EXPECT_EQ(work.code_operations, 0);
    EXPECT_GT(work.float_operations, 0);  // attention at least
    EXPECT_EQ(work.bf16_operations + work.float_operations, exact.float_operations);
    if (type == EncodingId::F32 || peaks().bf16 == nullptr) {
      EXPECT_EQ(work.bf16_operations, 0);
    } else {
      EXPECT_GT(work.bf16_operations, work.float_operations) << "attention alone is left, of few tokens";
    }
  }
}

TEST(SpeedTest, LongContextsAreFilledWithoutComputingThem) {
  TinyOptions options;
  options.config = tiny_config(64, 2, 80);
  const TinyModel tiny(options);
  ThreadPool pool(2);
  Transformer model(tiny.source, pool);
  MachineLimits limits(pool);
  const SpeedResult result = measure_speed(model, tiny.source, {3, 2, 2, 600}, 2, limits);
  EXPECT_EQ(result.seconds.size(), 2u);
  EXPECT_EQ(result.test.name(), "pp3+tg2 x2 @ d600");
  EXPECT_GT(result.tokens_per_second(), 0);
}

TEST(Peaks, TheOperationsDoneGrowWithTheRounds) {
  EXPECT_GT(peaks().codes(1), 0);
  EXPECT_EQ(peaks().codes(10), 10 * peaks().codes(1));
  EXPECT_EQ(peaks().floats(10), 10 * peaks().floats(1));
  if (peaks().bf16 != nullptr) {
    EXPECT_EQ(peaks().bf16(10), 10 * peaks().bf16(1));
  }
}

}  // namespace
}  // namespace lowbit
