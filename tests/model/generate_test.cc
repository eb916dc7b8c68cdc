#include "model/generate.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "model/tiny_model.h"
#include "model/tiny_tokenizer.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

class Generate : public testing::Test {
 protected:
  Generate() : tiny_(options()), model_(tiny_.source, pool_) {
    options_.max_tokens = 20;
    options_.sampler.temperature = 0;
    options_.ignore_end = true;
  }

  static TinyOptions options() {
    TinyOptions o;
    o.config = tiny_config(64, 2, kTinyVocab);
    return o;
  }

  Generation run(std::string_view prompt, int64_t capacity = 200, const TextCallback& callback = {}) {
    KvCache cache(model_.config(), capacity);
    return generate(model_, tokenizer_, cache, tokenizer_.encode(prompt, true, false), options_, callback);
  }

  ThreadPool pool_{2};
  TinyModel tiny_;
  Transformer model_;
  Tokenizer tokenizer_{tiny_tokenizer()};
  GenerateOptions options_;
};

TEST_F(Generate, GreedyTokensAreThoseOfOnePassOverTheResult) {
  const std::vector<int32_t> prompt = tokenizer_.encode("the cat", true, false);
  const Generation g = run("the cat");
  ASSERT_EQ(g.tokens.size(), 20u);
  EXPECT_EQ(g.reason, StopReason::MaxTokens);
  EXPECT_EQ(g.prompt_tokens, static_cast<int64_t>(prompt.size()));
  std::vector<int32_t> all = prompt;
  all.insert(all.end(), g.tokens.begin(), g.tokens.end());
  KvCache cache(model_.config(), 100);
  const Segment segment{all, &cache};
  const std::vector<float> hidden = model_.forward({&segment, 1});
  std::vector<float> logits(all.size() * kTinyVocab);
  model_.logits(hidden.data(), static_cast<int64_t>(all.size()), logits.data());
  for (size_t i = 0; i < g.tokens.size(); ++i) {
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>((prompt.size() - 1 + i) * kTinyVocab);
    EXPECT_EQ(g.tokens[i], std::max_element(row, row + kTinyVocab) - row);
  }
}

TEST_F(Generate, StreamedTextIsTheResult) {
  options_.sampler.temperature = 3;  // noise: bytes that are mostly no UTF-8
  options_.max_tokens = 120;
  std::string streamed;
  const Generation g = run("x", 200, [&](std::string_view text) {
    streamed += text;
    EXPECT_FALSE(text.empty());
    return true;
  });
  EXPECT_EQ(g.text, streamed);
  Utf8Stream utf8;
  std::string expected;
  for (const int32_t t : g.tokens) expected += utf8.push(tokenizer_.piece(t));
  EXPECT_EQ(g.text, expected + utf8.flush());
}

TEST_F(Generate, TheSeedReproduces) {
  options_.sampler.temperature = 1;
  options_.sampler.seed = 5;
  const Generation a = run("x"), b = run("x");
  EXPECT_EQ(a.tokens, b.tokens);
  options_.sampler.seed = 6;
  EXPECT_NE(run("x").tokens, a.tokens);
}

TEST_F(Generate, StopsAtAStopString) {
  const std::string text = run("x").text;
  ASSERT_GE(text.size(), 6u);
  size_t at = text.size() / 2;
  while ((static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) ++at;
  options_.stop = {text.substr(at, 6)};
  const Generation g = run("x");
  EXPECT_EQ(g.reason, StopReason::StopString);
  EXPECT_EQ(g.text, text.substr(0, text.find(options_.stop[0])));
}

TEST_F(Generate, StopsAtAnEndOfGenerationToken) {
  const Generation whole = run("x");
  TokenizerData data = tiny_tokenizer();
  data.end_of_generation = {whole.tokens[3]};
  const Tokenizer ending(data);
  KvCache cache(model_.config(), 100);
  const std::vector<int32_t> prompt = tokenizer_.encode("x", true, false);
  options_.ignore_end = false;
  const Generation g = generate(model_, ending, cache, prompt, options_);
  EXPECT_EQ(g.reason, StopReason::EndOfGeneration);
  EXPECT_EQ(g.tokens.back(), whole.tokens[3]);
  EXPECT_LE(g.tokens.size(), 4u);
  options_.ignore_end = true;
  cache.truncate(0);
  EXPECT_EQ(generate(model_, ending, cache, prompt, options_).tokens, whole.tokens);
}

TEST_F(Generate, StopsWhenTheContextIsFull) {
  options_.max_tokens = -1;
  const Generation g = run("abcd", 10);
  EXPECT_EQ(g.reason, StopReason::ContextFull);
  EXPECT_EQ(g.tokens.size(), 7u) << "the last token drawn needs no room";
}

TEST_F(Generate, StopsWhenCancelled) {
  int calls = 0;
  const Generation g = run("x", 200, [&](std::string_view) { return ++calls < 3; });
  EXPECT_EQ(g.reason, StopReason::Cancelled);
  EXPECT_EQ(calls, 3);
}

TEST_F(Generate, ASecondTurnContinuesTheCache) {
  const std::vector<int32_t> first = tokenizer_.encode("ab", true, false),
                             second = tokenizer_.encode("cd", true, false);
  KvCache cache(model_.config(), 100);
  options_.max_tokens = 3;
  const Generation a = generate(model_, tokenizer_, cache, first, options_);
  EXPECT_EQ(cache.size(), 2 + 2) << "the prompt and all drawn tokens but the last";
  std::vector<int32_t> turn{a.tokens.back()};
  turn.insert(turn.end(), second.begin(), second.end());
  const Generation b = generate(model_, tokenizer_, cache, turn, options_);
  std::vector<int32_t> all = first;
  all.insert(all.end(), a.tokens.begin(), a.tokens.end());
  all.insert(all.end(), second.begin(), second.end());
  KvCache fresh(model_.config(), 100);
  EXPECT_EQ(b.tokens, generate(model_, tokenizer_, fresh, all, options_).tokens);
}

TEST_F(Generate, PromptsThatCannotBeAreErrors) {
  KvCache cache(model_.config(), 4);
  const auto message = [&](const std::vector<int32_t>& prompt) -> std::string {
    try {
      generate(model_, tokenizer_, cache, prompt, options_);
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  };
  EXPECT_THAT(message({}), HasSubstr("empty"));
  EXPECT_THAT(message({1, 2, 3, 4, 5}), HasSubstr("5 tokens"));
}

TEST_F(Generate, NoTokensWantedNoTokensDrawn) {
  options_.max_tokens = 0;
  const Generation g = run("abc");
  EXPECT_TRUE(g.tokens.empty());
  EXPECT_EQ(g.text, "");
}

}  // namespace
}  // namespace lowbit
