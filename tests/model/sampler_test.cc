#include "model/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplerOptions everything(double temperature = 1) {
  SamplerOptions o;
  o.temperature = temperature;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  return o;
}

/// How often each token is drawn.
std::map<int32_t, int> draw(const SamplerOptions& options, const std::vector<float>& logits, int times,
                            const std::vector<int32_t>& history = {}) {
  Sampler sampler(options);
  std::map<int32_t, int> counts;
  for (int i = 0; i < times; ++i) ++counts[sampler.sample(logits, history)];
  return counts;
}

std::vector<int32_t> drawn(const SamplerOptions& options, const std::vector<float>& logits,
                           const std::vector<int32_t>& history = {}) {
  std::vector<int32_t> ids;
  for (const auto& [id, count] : draw(options, logits, 3000, history)) ids.push_back(id);
  return ids;
}

std::vector<float> log_of(std::vector<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

TEST(Random, IsSplitMix64) {
  // The published test vector of the algorithm.
  Random r(1234567);
  EXPECT_EQ(r.next(), 6457827717110365317u);
  EXPECT_EQ(r.next(), 3203168211198807973u);
  EXPECT_EQ(r.next(), 9817491932198370423u);
  EXPECT_EQ(r.next(), 4593380528125082431u);
  EXPECT_EQ(r.next(), 16408922859458223821u);
}

TEST(Random, UniformIsInTheHalfOpenUnitInterval) {
  Random r(7);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = r.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

TEST(Sampler, ZeroTemperatureTakesTheLikeliestAndTheSmallestIdAmongEquals) {
  SamplerOptions o;
  o.temperature = 0;
  Sampler s(o);
  EXPECT_EQ(s.sample(std::vector<float>{1, 5, 2, 5}, {}), 1);
  EXPECT_EQ(s.sample(std::vector<float>{-3, -2, -9}, {}), 1);
}

TEST(Sampler, DrawsWithTheSoftmaxProbabilities) {
  const auto counts = draw(everything(), log_of({0.5, 0.3, 0.2}), 20000);
  EXPECT_NEAR(counts.at(0) / 20000.0, 0.5, 0.015);
  EXPECT_NEAR(counts.at(1) / 20000.0, 0.3, 0.015);
  EXPECT_NEAR(counts.at(2) / 20000.0, 0.2, 0.015);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  // p^(1/T), normalized: 0.5, 0.3, 0.2 at T = 0.5 is 25 : 9 : 4.
  const auto counts = draw(everything(0.5), log_of({0.5, 0.3, 0.2}), 20000);
  EXPECT_NEAR(counts.at(0) / 20000.0, 25.0 / 38, 0.015);
  EXPECT_NEAR(counts.at(2) / 20000.0, 4.0 / 38, 0.015);
}

TEST(Sampler, TopKKeepsTheKLikeliest) {
  SamplerOptions o = everything();
  o.top_k = 2;
  EXPECT_THAT(drawn(o, {0, 2, 1.9F, 2.1F}), ElementsAre(1, 3));
  EXPECT_THAT(drawn(o, {1, 1, 1, 1}), ElementsAre(0, 1)) << "equal logits rank by id";
  o.top_k = 100;
  EXPECT_THAT(drawn(o, {0, 0, 0}), ElementsAre(0, 1, 2));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesP) {
  SamplerOptions o = everything();
  const std::vector<float> logits = log_of({0.1, 0.5, 0.15, 0.25});
  o.top_p = 0.74;
  EXPECT_THAT(drawn(o, logits), ElementsAre(1, 3));
  o.top_p = 0.76;
  EXPECT_THAT(drawn(o, logits), ElementsAre(1, 2, 3));
  o.top_p = 0.0001;
  EXPECT_THAT(drawn(o, logits), ElementsAre(1)) << "at least one";
}

TEST(Sampler, TopPLooksAtWhatTopKHasKept) {
  SamplerOptions o = everything();
  o.top_k = 2;
  o.top_p = 0.6;  // of the two kept, the first has 0.5 / 0.75 = 0.67
  EXPECT_THAT(drawn(o, log_of({0.1, 0.5, 0.15, 0.25})), ElementsAre(1));
}

TEST(Sampler, TopPOverALargeVocabularyIsTheSameWithAndWithoutSorting) {
  // Without top-k the head of the vocabulary is sorted piece by piece; with k = all but one it is sorted at once.
  std::vector<float> logits(5000);
  Random r(3);
  for (float& l : logits) l = static_cast<float>(6 * r.uniform());
  logits.push_back(-50);  // what top-k drops
  SamplerOptions a = everything(), b = everything();
  a.top_p = b.top_p = 0.9;
  a.seed = b.seed = 11;
  b.top_k = 5000;
  Sampler sa(a), sb(b);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(sa.sample(logits, {}), sb.sample(logits, {}));
}

TEST(Sampler, MinPDropsWhatIsUnlikelyBesideTheLikeliest) {
  SamplerOptions o = everything();
  o.min_p = 0.29;
  EXPECT_THAT(drawn(o, log_of({0.1, 0.5, 0.15, 0.25})), ElementsAre(1, 2, 3));
  o.min_p = 0.31;
  EXPECT_THAT(drawn(o, log_of({0.1, 0.5, 0.15, 0.25})), ElementsAre(1, 3));
}

TEST(Sampler, FiltersLookAtTemperatureOne) {
  SamplerOptions o = everything(100);  // nearly uniform, but only over what min-p keeps at temperature 1
  o.min_p = 0.31;
  EXPECT_THAT(drawn(o, log_of({0.1, 0.5, 0.15, 0.25})), ElementsAre(1, 3));
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogitsOnce) {
  SamplerOptions o;
  o.temperature = 0;
  o.repetition_penalty = 2;
  Sampler s(o);
  EXPECT_EQ(s.sample(std::vector<float>{3, 1.6F}, std::vector<int32_t>{0}), 1);
  EXPECT_EQ(s.sample(std::vector<float>{3, 1.4F}, std::vector<int32_t>{0}), 0);
  EXPECT_EQ(s.sample(std::vector<float>{3, 1.4F}, std::vector<int32_t>{0, 0, 0}), 0) << "once, however often seen";
  EXPECT_EQ(s.sample(std::vector<float>{-1, -1.9F}, std::vector<int32_t>{0}), 1);
  EXPECT_EQ(s.sample(std::vector<float>{-1, -2.1F}, std::vector<int32_t>{0}), 0);
  EXPECT_EQ(s.sample(std::vector<float>{3, 1}, std::vector<int32_t>{-5, 77}), 0) << "ids of elsewhere are harmless";
}

TEST(Sampler, RepetitionWindowForgets) {
  SamplerOptions o;
  o.temperature = 0;
  o.repetition_penalty = 4;
  o.repetition_window = 2;
  const std::vector<float> logits{3, 2, 1, 1};
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{0, 2, 3}), 0);
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{2, 0, 3}), 1);
  o.repetition_window = 0;
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{0}), 0);
  o.repetition_window = -1;
  EXPECT_EQ(Sampler(o).sample(logits, std::vector<int32_t>{0, 2, 3}), 1);
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  SamplerOptions o;
  o.seed = 42;
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(std::sin(static_cast<double>(i)));
  const auto run = [&](uint64_t seed) {
    o.seed = seed;
    Sampler s(o);
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(s.sample(logits, {}));
    return ids;
  };
  EXPECT_EQ(run(42), run(42));
  EXPECT_NE(run(42), run(43));
}

TEST(Sampler, NanIsNeverChosenAndInfinityIsSurvived) {
  for (const double temperature : {0.0, 1.0}) {
    SamplerOptions all = everything(temperature), usual;
    usual.temperature = temperature;
    for (const SamplerOptions& o : {all, usual}) {
      EXPECT_THAT(drawn(o, {kNan, 1, kNan, -kInfinity}), ElementsAre(1));
      EXPECT_THAT(drawn(o, {kNan, kInfinity, 3, -kInfinity}), ElementsAre(1));
    }
    SamplerOptions penalty = all;
    penalty.repetition_penalty = 1.5;
    EXPECT_THAT(drawn(penalty, {kNan, 1, kNan, -kInfinity}, {0, 1, 3}), ElementsAre(1));
  }
}

TEST(Sampler, NoNumberAtAllIsAnError) {
  Sampler s(SamplerOptions{});
  EXPECT_THROW(s.sample(std::vector<float>{kNan, kNan}, {}), Error);
  EXPECT_THROW(s.sample(std::vector<float>{-kInfinity}, {}), Error);
}

TEST(Sampler, OptionsThatMakeNoSenseAreNamed) {
  const auto message = [](auto change) -> std::string {
    SamplerOptions o;
    change(o);
    try {
      check(o);
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](SamplerOptions&) {}), "accepted");
  EXPECT_THAT(message([](SamplerOptions& o) { o.temperature = -1; }), HasSubstr("temperature"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.temperature = kNan; }), HasSubstr("temperature"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.top_k = -1; }), HasSubstr("top-k"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.top_p = 0; }), HasSubstr("top-p"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.top_p = 1.1; }), HasSubstr("top-p"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.min_p = kNan; }), HasSubstr("min-p"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.repetition_penalty = 0; }), HasSubstr("penalty"));
  EXPECT_THAT(message([](SamplerOptions& o) { o.repetition_window = -2; }), HasSubstr("window"));
}

}  // namespace
}  // namespace lowbit
