#include "quantize/calibration/calibrate.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/progress.h"
#include "model/tiny_model.h"
#include "model/tiny_tokenizer.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

class Calibrate : public testing::Test {
 protected:
  Calibrate() {
    Progress::silence();
    std::mt19937 random(8);
    while (text_.size() < 150) text_ += "etaoin shrdlu. th"[random() % 17];
  }

  static TinyOptions options() {
    TinyOptions o;
    o.config = tiny_config(64, 2, kTinyVocab);
    o.config.context = 64;
    return o;
  }

  TinyModel tiny_{options()};
  Tokenizer tokenizer_{tiny_tokenizer()};
  std::string text_;
  const CalibrateOptions short_{32, 0, false};
};

TEST_F(Calibrate, SumsTheSquaresOfEveryChannel) {
  ThreadPool pool(3);
  Transformer model(tiny_.source, pool);
  const ImportanceMatrix m = calibrate(model, tokenizer_, text_, "tiny.txt", short_);
  EXPECT_EQ(m.entries.size(), 14u) << "seven matrices a layer, and neither the embedding nor the output";
  EXPECT_EQ(m.chunk_size, 32u);
  EXPECT_EQ(m.chunk_count, 4u);
  EXPECT_THAT(m.datasets, testing::ElementsAre("tiny.txt"));
  for (const auto& [name, e] : m.entries) {
    EXPECT_THAT(e.counts, testing::ElementsAre(4 * 32)) << name;
    EXPECT_EQ(e.sums.size(), 64u) << name;
  }

  // The first layer's q sees the normed embedding of each token, which can be computed by hand.
  const std::vector<int32_t> tokens = tokenizer_.encode(text_, true, false);
  std::vector<double> expected(64);
  std::vector<float> row(64), norm(64);
  read_rows(tiny_.store(), *tiny_.source.find({Role::AttentionNorm, 0}), 0, 1, norm.data());
  for (size_t t = 0; t < 4 * 32; ++t) {
    read_rows(tiny_.store(), *tiny_.source.find({Role::TokenEmbedding}), tokens[t], 1, row.data());
    double squares = 0;
    for (const float x : row) squares += static_cast<double>(x) * x;
    for (size_t c = 0; c < 64; ++c) {
      const double x = row[c] / std::sqrt(squares / 64 + 1e-5) * norm[c];
      expected[c] += x * x;
    }
  }
  const ImportanceEntry& q = m.entries.at("blk.0.attn_q.weight");
  for (size_t c = 0; c < 64; ++c) EXPECT_NEAR(q.sums[c], expected[c], 1e-5 * expected[c]);
  EXPECT_EQ(q.sums, m.entries.at("blk.0.attn_k.weight").sums);
  EXPECT_NE(q.sums, m.entries.at("blk.1.attn_q.weight").sums);
}

TEST_F(Calibrate, TheSameForAnyNumberOfThreads) {
  ThreadPool one(1), five(5);
  Transformer a(tiny_.source, one), b(tiny_.source, five);
  const ImportanceMatrix ma = calibrate(a, tokenizer_, text_, "t", short_);
  const ImportanceMatrix mb = calibrate(b, tokenizer_, text_, "t", short_);
  for (const auto& [name, e] : ma.entries) EXPECT_EQ(e.sums, mb.entries.at(name).sums);
}

TEST_F(Calibrate, TakesAsManyChunksAsAskedAndStartsThemWithBos) {
  ThreadPool pool(2);
  Transformer model(tiny_.source, pool);
  const ImportanceMatrix plain = calibrate(model, tokenizer_, text_, "t", {32, 2, false});
  EXPECT_EQ(plain.chunk_count, 2u);
  TokenizerData data = tiny_tokenizer();
  data.add_bos = true;
  const ImportanceMatrix with_bos = calibrate(model, Tokenizer(data), text_, "t", {32, 2, false});
  EXPECT_NE(plain.entries.begin()->second.sums, with_bos.entries.begin()->second.sums);
}

TEST_F(Calibrate, TooLittleTextIsAnError) {
  ThreadPool pool(2);
  Transformer model(tiny_.source, pool);
  const auto message = [&](std::string_view text, const CalibrateOptions& o) -> std::string {
    try {
      calibrate(model, tokenizer_, text, "t", o);
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  };
  EXPECT_THAT(message("abc", short_), HasSubstr("only 3 tokens"));
  EXPECT_THAT(message(text_, {100, 0, false}), HasSubstr("context of 64"));
}

TEST_F(Calibrate, DamagedWeightsAreAnError) {
  ThreadPool pool(2);
  std::vector<std::byte>& norm = tiny_.store().bytes(tiny_.source.name({Role::AttentionNorm, 1}));
  norm[2] = std::byte{0xff};  // a NaN
  norm[3] = std::byte{0x7f};
  Transformer model(tiny_.source, pool);
  try {
    calibrate(model, tokenizer_, text_, "t", short_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("blk."));
  }
}

}  // namespace
}  // namespace lowbit
