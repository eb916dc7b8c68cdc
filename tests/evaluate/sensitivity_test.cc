#include "evaluate/sensitivity.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "error_of.h"
#include "evaluate/mixed.h"
#include "evaluate/perplexity.h"
#include "evaluate/sensitivity_layers.h"
#include "model/metadata.h"
#include "model/tiny_model.h"
#include "model/tiny_tokenizer.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

TinyOptions options(bool tied = false) {
  TinyOptions o;
  o.config = tiny_config(64, 3, kTinyVocab);
  o.config.tied_embeddings = tied;
  return o;
}

std::vector<int32_t> random_tokens(int64_t sequences, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> out;
  for (int64_t i = 0; i < sequences * kSensitivityLength; ++i) out.push_back(static_cast<int32_t>(random() % 250));
  return out;
}

class Sensitivities : public testing::Test {
 protected:
  Sensitivities() { Progress::silence(); }

  static Plan plan_of(const TinyModel& model) {
    PlanOptions o;
    o.mixture = find_mixture("Q4_0");
    return make_plan(model.source, o);
  }
  Sensitivity measure(const TinyModel& model, int threads = 2) {
    ThreadPool pool(threads);
    const Plan plan = plan_of(model);
    return measure_sensitivity({model.source, plan, types_, text_}, pool);
  }

  const std::vector<const Encoding*> types_ = {&encoding(EncodingId::Q4_0), &encoding(EncodingId::Q5_0),
                                               &encoding(EncodingId::Q8_0)};
  const SensitivityText text_ = {random_tokens(3, 1), random_tokens(4, 2)};
};

/// The gain is what it is defined as: the divergence when the matrix alone is rounded, found here by evaluating the
/// whole changed model.
TEST_F(Sensitivities, PredictTheDivergenceOfAModelWithOneRoundedMatrix) {
  for (const bool tied : {false, true}) {
    const TinyModel original(options(tied));
    const Sensitivity found = measure(original);
    ASSERT_EQ(found.matrices.size(), tied ? 22u : 23u);
    ThreadPool pool(2);
    Transformer reference(original.source, pool);
    const Tokenizer tokenizer(tiny_tokenizer());
    for (const MatrixSensitivity& m : found.matrices) {
      TinyModel changed(options(tied));
      const std::string name = hf_name(*from_gguf_name(m.tensor));
      const TensorInfo& info = changed.source.store->at(name);
      std::vector<float> values(static_cast<size_t>(info.elements()));
      read_rows(*changed.source.store, info, 0, info.rows(), values.data());
      std::vector<std::byte> coded(types_[0]->bytes(values.size()));
      encode_rows(*types_[0], Search::Weighted, values.data(), info.rows(), info.cols(), nullptr, coded.data());
      decode(*types_[0], coded.data(), info.elements(), values.data());
      changed.store().bytes(name) = as_bytes(values);
      Transformer model(changed.source, pool);
      EvaluateOptions o;
      o.context = kSensitivityLength;
      const EvaluatedModel reference_view{reference, tokenizer, "original"};
      const double kld =
          evaluate({model, tokenizer, "changed"}, &reference_view, text_.probes, o).divergence->mean_kld.value;
      // evaluate() leaves out the last token of each sequence, whose next one is not known.
      EXPECT_NEAR(m.predicted_kld(*types_[0]), kld, 0.1 * kld) << m.tensor;
      EXPECT_GT(m.error(*types_[0]), 2 * m.error(*types_[1])) << m.tensor;
      EXPECT_GT(m.error(*types_[1]), 10 * m.error(*types_[2])) << m.tensor;
    }
  }
}

TEST_F(Sensitivities, DoNotDependOnThreads) {
  const TinyModel model(options());
  const Sensitivity one = measure(model, 1), three = measure(model, 3);
  for (size_t i = 0; i < one.matrices.size(); ++i) {
    EXPECT_EQ(one.matrices[i].gain, three.matrices[i].gain);
    EXPECT_EQ(one.matrices[i].errors, three.matrices[i].errors);
  }
}

TEST_F(Sensitivities, AreReadAsTheyWereWrittenAndOnlyForTheSameModel) {
  const TinyModel model(options());
  const Sensitivity written = measure(model);
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "lowbit-sensitivity-test.json";
  write_sensitivity(path, written);
  const Sensitivity read = read_sensitivity(path, written.measured_on);
  ASSERT_EQ(read.matrices.size(), written.matrices.size());
  for (size_t i = 0; i < read.matrices.size(); ++i) {
    EXPECT_EQ(read.matrices[i].tensor, written.matrices[i].tensor);
    EXPECT_EQ(read.matrices[i].gain, written.matrices[i].gain);
    EXPECT_EQ(read.matrices[i].errors, written.matrices[i].errors);
  }
  const auto error_of = [&](const std::string& key) -> std::string {
    try {
      read_sensitivity(path, key);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(error_of("xxh3:0"), HasSubstr("measured on another model"));
  for (const char* hostile : {"[]", "{", "{\"format\": \"lowbit sensitivity 1\", \"matrices\": 3}",
                              "{\"format\": \"lowbit sensitivity 1\", \"measured_on\": \"k\", \"matrices\": [{}]}",
                              "{\"format\": \"lowbit sensitivity 1\", \"measured_on\": \"k\", \"matrices\": "
                              "[{\"tensor\": \"a\", \"gain\": -1, \"errors\": {}}]}"}) {
    write_text_file(path, hostile);
    EXPECT_NE(error_of("k"), "") << hostile;
  }
  std::filesystem::remove(path);
}

TEST_F(Sensitivities, KeysTellModelsTextsAndTypesApart) {
  TinyOptions other = options();
  other.seed = 2;
  const TinyModel model(options()), another(other);
  const Plan plan = plan_of(model), other_plan = plan_of(another);
  const std::string key = sensitivity_key({model.source, plan, types_, text_});
  EXPECT_EQ(key, sensitivity_key({model.source, plan, types_, text_}));
  EXPECT_NE(key, sensitivity_key({another.source, other_plan, types_, text_}));
  EXPECT_NE(key, sensitivity_key({model.source, plan, {types_[0]}, text_}));
  EXPECT_NE(key, sensitivity_key({model.source, plan, types_, {text_.probes, text_.probes}}));
}

TEST(MeasuredLayers, AreAllOfASmallModelAndSomeOfALargeOne) {
  const MeasuredLayers small(tiny_config(64, 5), 768);
  EXPECT_EQ(small.count(), 5);
  EXPECT_EQ(small.work(), 5u + 7 * (5 + 4 + 3 + 2 + 1));
  ModelConfig config = tiny_config(4096, 32);
  config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  config.ffn = 11008;
  const MeasuredLayers large(config, 768);
  EXPECT_EQ(large.count(), 8);
  EXPECT_TRUE(large.measured(0));
  EXPECT_TRUE(large.measured(31));
  for (int l = 0; l < 32; ++l) {
    const auto [below, above] = large.neighbours(l);
    EXPECT_TRUE(large.measured(below) && large.measured(above) && below <= l && above >= l && above - below <= 5) << l;
  }
}

class Mixed : public Sensitivities {
 protected:
  Mixed() : model_(options()), plan_(plan_of(model_)), sensitivity_(measure(model_)) {}
  MixedPrecision mixed() const { return {plan_, sensitivity_, types_, metadata_}; }

  const TinyModel model_;
  const Plan plan_;
  const Sensitivity sensitivity_;
  const GgufMetadata metadata_;
};

TEST_F(Mixed, KeepsTheSizeOrTellsWhatIsPossible) {
  const MixedPrecision precision = mixed();
  double before = INFINITY;
  for (int i = 0; i <= 10; ++i) {
    const uint64_t limit =
        precision.smallest() + (precision.largest() - precision.smallest()) * static_cast<uint64_t>(i) / 10;
    const MixedPlan plan = precision.within_size(limit);
    EXPECT_LE(plan.bytes, limit);
    EXPECT_LE(plan.predicted_kld, before);
    EXPECT_EQ(plan.recipe.types.size(), 23u);
    before = plan.predicted_kld;
  }
  EXPECT_THAT(error_of([&] { precision.within_size(precision.smallest() - 1); }), HasSubstr("too small"));
  EXPECT_THAT(error_of([&] { precision.within_size(3); }), HasSubstr("too small"));
  EXPECT_THAT(error_of([&] { precision.within_bits_per_weight(2); }), HasSubstr("too few"));
  EXPECT_THAT(error_of([&] { precision.within_kld(precision.least_kld() / 2); }), HasSubstr("not possible"));
  EXPECT_LE(precision.within_kld(precision.least_kld() * 3).predicted_kld, precision.least_kld() * 3);
}

TEST_F(Mixed, FollowsTheMeasuredDivergence) {
  const MixedPrecision precision = mixed();
  const double range = precision.within_size(precision.smallest()).predicted_kld;
  for (const double factor : {0.3, 1.0, 4.0}) {
    double last = 0;
    int calls = 0;
    const double target = range / 3 * factor;
    const MixedPlan plan = within_measured_kld(precision, target, [&](const MixedPlan& attempt) {
      ++calls;
      last = std::pow(attempt.predicted_kld, 1.1) / std::pow(range, 0.1) * factor;
      return last;
    });
    EXPECT_LE(calls, 8);
    const double measured = std::pow(plan.predicted_kld, 1.1) / std::pow(range, 0.1) * factor;
    EXPECT_LE(measured, target);
    EXPECT_GE(measured, 0.8 * target);
  }
  EXPECT_THAT(error_of([&] { within_measured_kld(precision, range, [](const MixedPlan&) { return 1e9; }); }),
              HasSubstr("not reached"));
}

}  // namespace
}  // namespace lowbit
