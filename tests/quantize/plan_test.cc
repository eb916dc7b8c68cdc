#include "quantize/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "model/tiny_model.h"
#include "quantize/prior.h"

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

std::string error_of(const ModelSource& source, const PlanOptions& options) {
  try {
    make_plan(source, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Plan, RowsThatFitTakeTheMixtureOthersFallBackAndSaySo) {
  const TinyModel wide({tiny_config(256)}), narrow({tiny_config(64)});
  const Plan fits = make_plan(wide.source, options("Q4_K_M")), falls = make_plan(narrow.source, options("Q4_K_M"));
  EXPECT_EQ(tensor(fits, "blk.0.attn_q.weight").encoding->id, EncodingId::Q4_K);
  EXPECT_FALSE(tensor(fits, "blk.0.attn_q.weight").fell_back());
  EXPECT_EQ(tensor(fits, "output.weight").encoding->id, EncodingId::Q6_K);
  EXPECT_EQ(tensor(fits, "blk.0.attn_norm.weight").encoding->id, EncodingId::F32);
  EXPECT_EQ(tensor(falls, "blk.0.attn_q.weight").encoding->id, EncodingId::Q5_0);
  EXPECT_TRUE(tensor(falls, "blk.0.attn_q.weight").fell_back());
  uint64_t bytes = 0;
  int64_t parameters = 0;
  for (const PlannedTensor& t : falls.tensors) {
    bytes += t.bytes;
    parameters += t.tensor.elements();
  }
  EXPECT_EQ(falls.bytes, bytes);
  EXPECT_DOUBLE_EQ(falls.bits_per_weight(), 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters));
}

TEST(Plan, StrictRefusesAFallback) {
  const TinyModel narrow({tiny_config(64)});
  PlanOptions strict = options("Q4_K_M");
  strict.strict = true;
  EXPECT_THAT(error_of(narrow.source, strict), testing::HasSubstr("rows of 64, no multiple of Q4_K's block of 256"));
}

TEST(Plan, OverridesWinAndMustMatch) {
  const TinyModel model({tiny_config(256)});
  PlanOptions some = options("Q4_K_M");
  some.overrides = {{"blk\\.1\\..*down", find_encoding("Q8_0")}, {"down", find_encoding("Q2_K")}};
  some.output = find_encoding("F16");
  const Plan plan = make_plan(model.source, some);
  EXPECT_EQ(tensor(plan, "blk.0.ffn_down.weight").encoding->id, EncodingId::Q2_K);
  EXPECT_EQ(tensor(plan, "blk.1.ffn_down.weight").encoding->id, EncodingId::Q8_0);
  EXPECT_EQ(tensor(plan, "output.weight").encoding->id, EncodingId::F16);
  some.overrides = {{"no_such", find_encoding("Q8_0")}};
  EXPECT_THAT(error_of(model.source, some), testing::HasSubstr("no_such: no tensor's name matches"));
  some.overrides = {{"(", find_encoding("Q8_0")}};
  EXPECT_THAT(error_of(model.source, some), testing::HasSubstr("is not a regular expression"));
}

TEST(Plan, AQuantizedSourceNeedsConsent) {
  const TinyModel model({tiny_config(64), find_encoding("Q8_0")});
  PlanOptions again = options("Q4_0");
  EXPECT_THAT(error_of(model.source, again), testing::HasSubstr("already quantized (Q8_0)"));
  again.allow_requantize = true;
  EXPECT_EQ(error_of(model.source, again), "");
  EXPECT_EQ(error_of(model.source, options("Q8_0")), "");  // a copy
}

std::vector<float> values(const TinyModel& model, const WeightId& id) {
  const TensorInfo& info = model.source.store->at(model.source.name(id));
  std::vector<float> out(static_cast<size_t>(info.elements()));
  read_rows(*model.source.store, info, 0, info.rows(), out.data());
  return out;
}

/// sqrt(sum((row * scale)^2)) by the book.
double norm_of(const std::vector<float>& matrix, const std::vector<float>& scale, size_t row) {
  double sum = 0;
  for (size_t c = 0; c < scale.size(); ++c) {
    const double x = static_cast<double>(matrix[row * scale.size() + c]) * static_cast<double>(scale[c]);
    sum += x * x;
  }
  return std::sqrt(sum);
}

TEST(EstimatedImportance, ComesFromNormsAndTheRowsBefore) {
  TinyOptions shape{tiny_config(64)};
  const TinyModel model(shape);
  Plan plan = make_plan(model.source, options("Q4_0"));
  ThreadPool pool(3);
  estimate_importance(plan, model.source, pool);

  const std::vector<float> norm = values(model, {Role::AttentionNorm, 1}), ffn_norm = values(model, {Role::FfnNorm, 1});
  const std::vector<float> v = values(model, {Role::V, 1}), gate = values(model, {Role::Gate, 1}),
                           up = values(model, {Role::Up, 1});
  const PlannedTensor& q = tensor(plan, "blk.1.attn_q.weight");
  ASSERT_EQ(q.importance.size(), norm.size());
  for (size_t i = 0; i < norm.size(); ++i) EXPECT_EQ(q.importance[i], std::fabs(norm[i]));

  const PlannedTensor& output = tensor(plan, "blk.1.attn_output.weight");
  ASSERT_EQ(output.importance.size(), 64u);  // 4 heads of 16; each pair of heads shares a value head
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(output.importance[i], norm_of(v, norm, i / 32 * 16 + i % 16), 1e-5) << i;
  }
  const PlannedTensor& down = tensor(plan, "blk.1.ffn_down.weight");
  ASSERT_EQ(down.importance.size(), 64u);
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(down.importance[i], norm_of(gate, ffn_norm, i) * norm_of(up, ffn_norm, i), 1e-4) << i;
  }
  EXPECT_TRUE(tensor(plan, "token_embd.weight").importance.empty());
}

TEST(EstimatedImportance, IsTheSameForAnyNumberOfThreads) {
  const TinyModel model({tiny_config(256)});
  Plan one = make_plan(model.source, options("Q4_K_M")), four = one;
  ThreadPool single(1), several(4);
  estimate_importance(one, model.source, single);
  estimate_importance(four, model.source, several);
  for (size_t i = 0; i < one.tensors.size(); ++i) EXPECT_EQ(one.tensors[i].importance, four.tensors[i].importance);
}

TEST(EstimatedImportance, LeavesWhatWasMeasuredAndDistrustsDamage) {
  TinyModel model({tiny_config(64)});
  std::vector<std::byte>& norm = model.store().bytes(hf_name({Role::FfnNorm, 0}));
  const float damage = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(norm.data(), &damage, sizeof damage);
  ImportanceMatrix measured;
  measured.entries["blk.0.attn_q.weight"] = {std::vector<float>(64, 8.0F), {2.0F}};
  PlanOptions some = options("Q4_0");
  some.importance = &measured;
  Plan plan = make_plan(model.source, some);
  ThreadPool pool(1);
  estimate_importance(plan, model.source, pool);
  EXPECT_THAT(tensor(plan, "blk.0.attn_q.weight").importance, testing::Each(4.0F));
  EXPECT_TRUE(tensor(plan, "blk.0.ffn_up.weight").importance.empty());
  EXPECT_FALSE(tensor(plan, "blk.1.ffn_up.weight").importance.empty());
}

}  // namespace
}  // namespace lowbit
