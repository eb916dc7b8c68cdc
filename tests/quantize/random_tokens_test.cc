#include "quantize/calibration/random_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <set>

#include "model/tiny_model.h"
#include "quantize/calibration/calibrate.h"

namespace lowbit {
namespace {

const PlannedTensor& tensor(const Plan& plan, const std::string& name) {
  for (const PlannedTensor& t : plan.tensors) {
    if (t.tensor.name == name) return t;
  }
  ADD_FAILURE() << name;
  return plan.tensors.front();
}

PlanOptions options(const char* mixture) {
  PlanOptions out;
  out.mixture = find_mixture(mixture);
  return out;
}

TEST(RandomTokens, AreSpreadOverTheVocabularyAndFitTheContext) {
  ModelConfig config = tiny_config(64);
  config.vocab = 4096;
  config.context = 1024;
  const std::vector<int32_t> tokens = random_tokens(config);
  ASSERT_EQ(tokens.size(), 32u);
  std::set<int32_t> parts;
  for (const int32_t token : tokens) parts.insert(token / (4096 / 16));
  EXPECT_EQ(parts.size(), 16u) << "each 16th of the vocabulary has one";
  EXPECT_GE(*parts.begin(), 0);
  EXPECT_LT(*parts.rbegin(), 16);
  config.context = 8;
  EXPECT_EQ(random_tokens(config).size(), 8u);
  config.vocab = 1;
  EXPECT_THAT(random_tokens(config), testing::Each(0));
}

TEST(RandomTokens, GiveEachMatrixTheMeanSquaresOfItsInputs) {
  const TinyModel model({tiny_config(64)});
  Plan plan = make_plan(model.source, options("Q4_0"));
  ThreadPool pool(3);
  RandomTokens seen(model.source, pool);
  estimate_importance(plan, seen);

  Transformer transformer(model.source, pool);
  SquareSums sums(pool);
  const std::vector<int32_t> tokens = random_tokens(model.source.config);
  KvCache cache(model.source.config, static_cast<int64_t>(tokens.size()));
  const Segment segment{tokens, &cache, 0};
  transformer.forward({&segment, 1}, &sums);
  int matrices = 0;
  for (const PlannedTensor& planned : plan.tensors) {
    if (planned.encoding->kind != EncodingKind::Block || planned.tensor.id.layer < 0) continue;
    ++matrices;
    const std::vector<float> means = sums.means(planned.tensor.id);
    ASSERT_EQ(planned.importance.size(), means.size()) << planned.tensor.name;
    // Hidden states are kept in BF16 between layers: 3 % was seen. Of other tokens the means differ by far more.
    for (size_t i = 0; i < means.size(); ++i) {
      EXPECT_NEAR(planned.importance[i], means[i], 0.05F * means[i]) << planned.tensor.name << " " << i;
    }
  }
  EXPECT_EQ(matrices, 14);
  EXPECT_TRUE(tensor(plan, "token_embd.weight").importance.empty());
}

TEST(RandomTokens, GiveTheSameForAnyNumberOfThreads) {
  const TinyModel model({tiny_config(256)});
  Plan one = make_plan(model.source, options("Q4_K_M")), four = one;
  ThreadPool single(1), several(4);
  RandomTokens seen_by_one(model.source, single), seen_by_four(model.source, several);
  estimate_importance(one, seen_by_one);
  estimate_importance(four, seen_by_four);
  for (size_t i = 0; i < one.tensors.size(); ++i) EXPECT_EQ(one.tensors[i].importance, four.tensors[i].importance);
}

TEST(RandomTokens, AreWantedWhereTheyHelpAndNothingWasMeasured) {
  const TinyModel model({tiny_config(256)});
  for (const char* none : {"F32", "F16", "BF16"}) {
    EXPECT_FALSE(wants_random_tokens(make_plan(model.source, options(none)))) << none;
  }
  for (const char* some : {"Q2_K", "Q4_K_M", "Q8_0", "IQ4_NL"}) {
    EXPECT_TRUE(wants_random_tokens(make_plan(model.source, options(some)))) << some;
  }
  PlanOptions calibrated = options("Q4_K_M");
  calibrated.layerwise = true;
  EXPECT_FALSE(wants_random_tokens(make_plan(model.source, calibrated)));

  ImportanceMatrix measured;
  for (const OutputTensor& tensor : gguf_tensors(model.source)) {
    if (tensor.id.layer >= 0 && is_matrix(tensor.id)) {
      measured.entries[tensor.name] = {std::vector<float>(static_cast<size_t>(tensor.cols()), 1.0F), {1.0F}};
    }
  }
  PlanOptions with_matrix = options("Q4_K_M");
  with_matrix.importance = &measured;
  Plan plan = make_plan(model.source, with_matrix);
  EXPECT_FALSE(wants_random_tokens(plan)) << "embedding and output are not of a layer";
  EXPECT_EQ(plan.without_importance, 0);
  measured.entries.erase("blk.1.ffn_up.weight");
  plan = make_plan(model.source, with_matrix);
  EXPECT_TRUE(wants_random_tokens(plan));
  EXPECT_EQ(plan.without_importance, 1);
}

TEST(RandomTokens, LeaveWhatWasMeasuredAndDistrustDamage) {
  TinyModel model({tiny_config(64)});
  std::vector<std::byte>& norm = model.store().bytes(hf_name({Role::FfnNorm, 1}));
  const float damage = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(norm.data(), &damage, sizeof damage);
  ImportanceMatrix measured;
  measured.entries["blk.0.attn_q.weight"] = {std::vector<float>(64, 8.0F), {2.0F}};
  PlanOptions some = options("Q4_0");
  some.importance = &measured;
  Plan plan = make_plan(model.source, some);
  ThreadPool pool(1);
  RandomTokens seen(model.source, pool);
  estimate_importance(plan, seen);
  EXPECT_THAT(tensor(plan, "blk.0.attn_q.weight").importance, testing::Each(4.0F));
  EXPECT_FALSE(tensor(plan, "blk.1.attn_q.weight").importance.empty());
  EXPECT_TRUE(tensor(plan, "blk.1.ffn_up.weight").importance.empty());
}

}  // namespace
}  // namespace lowbit
