#include "quantize/recipe.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "error_of.h"
#include "model/tiny_model.h"
#include "quantize/plan.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

TEST(Recipe, IsReadAsItWasWritten) {
  const TinyModel model({tiny_config(256)});
  PlanOptions o;
  o.mixture = find_mixture("Q4_K_M");
  const std::string text = recipe_text(make_plan(model.source, o));
  const Recipe recipe = parse_recipe("# a comment\n\n" + text, "r.txt");
  EXPECT_EQ(recipe.types.size(), 2 * 7 + 2u);
  EXPECT_EQ(recipe.types.at("output.weight")->id, EncodingId::Q6_K);
  o.mixture = nullptr;
  o.recipe = &recipe;
  const Plan again = make_plan(model.source, o);
  EXPECT_EQ(recipe_text(again), text);
  EXPECT_EQ(again.mixture, find_mixture("Q4_K_M"));
}

TEST(Recipe, BadLinesAreNamed) {
  const auto error = [](const char* text) { return error_of([&] { parse_recipe(text, "r.txt"); }); };
  EXPECT_THAT(error("a=Q4_K\nb\n"), HasSubstr("r.txt:2: should read TENSOR=TYPE"));
  EXPECT_THAT(error("a=Q4_K\n \r\na=Q5_K"), HasSubstr("r.txt:3: a is there twice"));
  EXPECT_THAT(error("a=Q4_X"), HasSubstr("r.txt:1: Q4_X is no type"));
  EXPECT_THAT(error("a=NF4"), HasSubstr("NF4 is no type"));
  EXPECT_EQ(error("blk.0.attn_q.weight = q4_k\r\n"), "");
}

TEST(Recipe, OfAnotherModelIsRefused) {
  const TinyModel model({tiny_config(64)});
  PlanOptions o;
  const Recipe unknown = parse_recipe("blk.9.attn_q.weight=Q8_0", "r.txt");
  o.recipe = &unknown;
  EXPECT_THAT(error_of([&] { make_plan(model.source, o); }), HasSubstr("has no line for"));
  o.mixture = find_mixture("Q8_0");
  EXPECT_THAT(error_of([&] { make_plan(model.source, o); }), HasSubstr("has no matrix blk.9.attn_q.weight"));
  const Recipe norm = parse_recipe("blk.0.attn_norm.weight=Q8_0", "r.txt");
  o.recipe = &norm;
  EXPECT_THAT(error_of([&] { make_plan(model.source, o); }), HasSubstr("has no matrix"));
}

TEST(Recipe, GivesWayToOverridesAndOtherwiseToTheMixture) {
  const TinyModel model({tiny_config(64)});
  const Recipe recipe = parse_recipe("blk.0.attn_q.weight=Q5_1\nblk.1.attn_q.weight=Q5_1", "r.txt");
  PlanOptions o;
  o.mixture = find_mixture("Q8_0");
  o.recipe = &recipe;
  o.overrides = {{"blk.1.attn_q", &encoding(EncodingId::Q4_0)}};
  const Plan plan = make_plan(model.source, o);
  for (const PlannedTensor& t : plan.tensors) {
    if (!is_matrix(t.tensor.id)) continue;
    const EncodingId expected = t.tensor.name == "blk.0.attn_q.weight"   ? EncodingId::Q5_1
                                : t.tensor.name == "blk.1.attn_q.weight" ? EncodingId::Q4_0
                                                                         : EncodingId::Q8_0;
    EXPECT_EQ(t.encoding->id, expected) << t.tensor.name;
    EXPECT_EQ(t.fixed, t.tensor.name == "blk.1.attn_q.weight");
  }
}

}  // namespace
}  // namespace lowbit
