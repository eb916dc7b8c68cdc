#include "evaluate/perplexity.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "base/progress.h"
#include "model/tiny_model.h"
#include "model/tiny_tokenizer.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

TinyOptions options(unsigned seed = 1, int64_t vocab = kTinyVocab) {
  TinyOptions o;
  o.config = tiny_config(64, 2, vocab);
  o.config.context = 64;
  o.seed = seed;
  return o;
}

std::string random_text(size_t size) {
  std::mt19937 random(8);
  std::string text;
  while (text.size() < size) text += "etaoin shrdlu. th"[random() % 17];
  return text;
}

class Evaluate : public testing::Test {
 protected:
  Evaluate() { Progress::silence(); }

  /// -log p of each scored token, by the definition and one token at a time.
  std::vector<double> by_hand(Transformer& model, const Tokenizer& tokenizer, int64_t first, bool bos) {
    const std::vector<int32_t> tokens = tokenizer.encode(text_, true, false);
    std::vector<double> out;
    for (size_t chunk = 0; (chunk + 1) * 32 <= tokens.size(); ++chunk) {
      std::vector<int32_t> own(tokens.begin() + static_cast<std::ptrdiff_t>(chunk * 32),
                               tokens.begin() + static_cast<std::ptrdiff_t>(chunk * 32 + 32));
      if (bos) own[0] = *tokenizer.data().bos;
      KvCache cache(model.config(), 32);
      const Segment segment{own, &cache};
      const std::vector<float> hidden = model.forward({&segment, 1});
      std::vector<float> logits(kTinyVocab);
      for (int64_t p = first; p + 1 < 32; ++p) {
        model.logits(&hidden[static_cast<size_t>(p * 64)], 1, logits.data());
        double sum = 0;
        for (const float l : logits) sum += std::exp(static_cast<double>(l));
        out.push_back(std::log(sum) -
                      static_cast<double>(logits[static_cast<size_t>(own[static_cast<size_t>(p) + 1])]));
      }
    }
    return out;
  }

  std::string message(const EvaluatedModel& m, const EvaluatedModel* r, std::string_view text,
                      const EvaluateOptions& o) {
    try {
      evaluate(m, r, text, o);
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  }

  ThreadPool pool_{2};
  TinyModel tiny_{options()}, other_{options(2)};
  Transformer model_{tiny_.source, pool_}, reference_{other_.source, pool_};
  Tokenizer tokenizer_{tiny_tokenizer()};
  const std::string text_ = random_text(700);
  const EvaluateOptions short_{32, 0, false};
};

TEST_F(Evaluate, ScoresTheSecondHalfOfEachChunk) {
  const std::vector<double> nll = by_hand(model_, tokenizer_, 16, false);
  const Evaluation e = evaluate({model_, tokenizer_, "m"}, nullptr, text_, short_);
  EXPECT_EQ(e.tokens, static_cast<int64_t>(nll.size()));
  EXPECT_EQ(e.tokens, e.chunks * 15);
  EXPECT_EQ(e.context, 32);
  EXPECT_NEAR(e.perplexity.value, std::exp(mean(nll).value), 1e-4 * e.perplexity.value);
  EXPECT_NEAR(e.perplexity.error, std::exp(mean(nll).value) * mean(nll).error, 1e-4 * e.perplexity.value);
  EXPECT_FALSE(e.divergence);
}

TEST_F(Evaluate, BosReplacesTheFirstTokenOfEachChunk) {
  TokenizerData data = tiny_tokenizer();
  data.add_bos = true;
  const Tokenizer with_bos(data);
  const Evaluation e = evaluate({model_, with_bos, "m"}, nullptr, text_, short_);
  const double expected = std::exp(mean(by_hand(model_, with_bos, 16, true)).value);
  EXPECT_NEAR(e.perplexity.value, expected, 1e-4 * expected);
  EXPECT_GT(std::fabs(expected - std::exp(mean(by_hand(model_, with_bos, 16, false)).value)), 1e-3 * expected);
}

TEST_F(Evaluate, HuggingFaceScoresAllButTheFirstAndKeepsTheChunksAsTheyAre) {
  TokenizerData data = tiny_tokenizer();
  data.add_bos = true;
  const Tokenizer with_bos(data);
  const Evaluation e = evaluate({model_, with_bos, "m"}, nullptr, text_, {32, 0, true});
  const std::vector<double> nll = by_hand(model_, with_bos, 0, false);
  EXPECT_EQ(e.tokens, static_cast<int64_t>(nll.size()));
  EXPECT_NEAR(e.perplexity.value, std::exp(mean(nll).value), 1e-4 * e.perplexity.value);
}

TEST_F(Evaluate, TakesAsManyChunksAsAsked) {
  const Evaluation e = evaluate({model_, tokenizer_, "m"}, nullptr, text_, {32, 3, false});
  EXPECT_EQ(e.chunks, 3);
  EXPECT_EQ(e.tokens, 45);
}

TEST_F(Evaluate, EachChunkHasItsMean) {
  const std::vector<double> nll = by_hand(model_, tokenizer_, 16, false);
  const Evaluation e = evaluate({model_, tokenizer_, "m"}, nullptr, text_, short_);
  ASSERT_EQ(static_cast<int64_t>(e.chunk_nll.size()), e.chunks);
  for (size_t c = 0; c < e.chunk_nll.size(); ++c) {
    EXPECT_NEAR(e.chunk_nll[c], mean(std::span(nll).subspan(15 * c, 15)).value, 1e-4) << c;
  }
}

TEST_F(Evaluate, OneNewlineAtTheEndIsNotScored) {
  const std::string even = "\n" + random_text(400);
  const Evaluation a = evaluate({model_, tokenizer_, "m"}, nullptr, even, short_);
  const Evaluation b = evaluate({model_, tokenizer_, "m"}, nullptr, even + "\n", short_);
  EXPECT_EQ(a.perplexity.value, b.perplexity.value);
  EXPECT_EQ(a.tokens, b.tokens);
}

TEST_F(Evaluate, AModelDoesNotDivergeFromItself) {
  const EvaluatedModel m{model_, tokenizer_, "m"};
  const Divergence d = evaluate(m, &m, text_, short_).divergence.value();
  EXPECT_EQ(d.mean_kld.value, 0);
  EXPECT_EQ(d.max_kld, 0);
  EXPECT_EQ(d.top1_agreement.value, 1);
  EXPECT_EQ(d.rms_delta_p.value, 0);
  EXPECT_EQ(d.rms_delta_p.error, 0);
  EXPECT_EQ(d.perplexity_ratio.value, 1);
  EXPECT_EQ(d.perplexity_ratio.error, 0);
}

TEST_F(Evaluate, TheReferenceIsScoredToo) {
  const EvaluatedModel m{model_, tokenizer_, "m"}, r{reference_, tokenizer_, "r"};
  const Evaluation e = evaluate(m, &r, text_, short_);
  const Evaluation alone = evaluate(m, nullptr, text_, short_), base = evaluate(r, nullptr, text_, short_);
  EXPECT_EQ(e.perplexity.value, alone.perplexity.value);
  EXPECT_DOUBLE_EQ(e.divergence->reference_perplexity.value, base.perplexity.value);
  EXPECT_DOUBLE_EQ(e.divergence->perplexity_ratio.value, alone.perplexity.value / base.perplexity.value);
  EXPECT_GT(e.divergence->mean_kld.value, 0.1) << "two random models are strangers";
  EXPECT_LT(e.divergence->top1_agreement.value, 0.5);
}

TEST_F(Evaluate, TheSameForAnyNumberOfThreads) {
  ThreadPool one(1), five(5);
  Transformer a(tiny_.source, one), b(tiny_.source, five), ra(other_.source, one), rb(other_.source, five);
  const EvaluatedModel base_a{ra, tokenizer_, "r"}, base_b{rb, tokenizer_, "r"};
  Json ja = to_json(evaluate({a, tokenizer_, "m"}, &base_a, text_, short_));
  Json jb = to_json(evaluate({b, tokenizer_, "m"}, &base_b, text_, short_));
  ja.erase("seconds");
  jb.erase("seconds");
  EXPECT_EQ(ja.dump(), jb.dump());
}

TEST_F(Evaluate, JsonHasTheKeysThatScriptsRead) {
  const EvaluatedModel m{model_, tokenizer_, "m"}, r{reference_, tokenizer_, "r"};
  const Json alone = to_json(evaluate(m, nullptr, text_, short_));
  for (const char* key : {"perplexity", "perplexity_error", "tokens", "chunks", "context", "seconds"}) {
    EXPECT_TRUE(alone.contains(key)) << key;
  }
  EXPECT_FALSE(alone.contains("mean_kld"));
  const Json both = to_json(evaluate(m, &r, text_, short_));
  for (const char* key : {"mean_kld", "mean_kld_error", "median_kld", "kld_p90", "kld_p95", "kld_p99", "kld_p999",
                          "max_kld", "top1_agreement", "top1_agreement_error", "rms_delta_p", "rms_delta_p_error",
                          "mean_delta_p", "perplexity_ratio", "perplexity_ratio_error", "reference_perplexity"}) {
    EXPECT_TRUE(both.contains(key)) << key;
  }
}

TEST_F(Evaluate, WhatCannotBeScoredIsAnError) {
  const EvaluatedModel m{model_, tokenizer_, "first"};
  EXPECT_THAT(message(m, nullptr, "short", short_), HasSubstr("only 5 tokens"));
  EXPECT_THAT(message(m, nullptr, "", short_), HasSubstr("only 0 tokens"));
  EXPECT_THAT(message(m, nullptr, text_, {128, 0, false}), HasSubstr("context of 64"));
  EXPECT_THAT(message(m, nullptr, text_, {2, 0, false}), HasSubstr("too short"));
  EXPECT_THAT(message(m, nullptr, text_, {-1, 0, false}), HasSubstr("too short"));
  EXPECT_THAT(message(m, nullptr, text_, {32, -1, false}), HasSubstr("chunks"));
}

TEST_F(Evaluate, AReferenceOfAnotherTokenizerIsAnError) {
  const EvaluatedModel m{model_, tokenizer_, "first"};
  TokenizerData data = tiny_tokenizer();
  data.merges.clear();
  const Tokenizer without_th(data);
  const EvaluatedModel split{reference_, without_th, "second"};
  EXPECT_THAT(message(m, &split, text_, short_), HasSubstr("different tokens"));
  const TinyModel larger(options(3, kTinyVocab + 5));
  Transformer large(larger.source, pool_);
  const EvaluatedModel wide{large, tokenizer_, "second"};
  EXPECT_THAT(message(m, &wide, text_, short_), HasSubstr("vocabulary of 259"));
}

TEST_F(Evaluate, DamagedWeightsAreAnError) {
  TinyModel broken(options());
  std::vector<std::byte>& norm = broken.store().bytes(broken.source.name({Role::OutputNorm}));
  norm[3] = std::byte{0x7f};  // a NaN or an enormous number
  norm[2] = std::byte{0xff};
  Transformer model(broken.source, pool_);
  EXPECT_THAT(message({model, tokenizer_, "broken"}, nullptr, text_, short_), HasSubstr("broken"));
}

}  // namespace
}  // namespace lowbit
