#include "quantize/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/tiny_model.h"

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

}  // namespace
}  // namespace lowbit
