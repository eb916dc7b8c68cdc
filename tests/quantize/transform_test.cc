// Folding leaves the model as it is; the searches fold where activations are uneven, and only there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "base/error.h"
#include "model/tiny_model.h"
#include "model/transformer.h"
#include "quantize/layerwise/layerwise.h"
#include "quantize/memory_writer.h"
#include "quantize/transform/channel_scales.h"
#include "quantize/transform/folding.h"

namespace lowbit {
namespace {

std::vector<float> factors(int64_t n, unsigned seed) {
  std::mt19937 draw(seed);
  std::uniform_real_distribution<float> log2(-2, 2);
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(std::exp2(log2(draw)));
  return out;
}

std::vector<float> floats(const std::vector<std::byte>& bytes) {
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<float> hidden_states(const TinyModel& model, const std::vector<int32_t>& ids = {1, 5, 9, 33, 60}) {
  ThreadPool pool(2);
  Transformer transformer(model.source, pool);
  KvCache cache(transformer.config(), 64, KvType::F32);
  const Segment segment{ids, &cache};
  return transformer.forward({&segment, 1});
}

TEST(Folding, LeavesTheModelsAnswersAsTheyWere) {
  TinyOptions options{tiny_config(64)};
  options.biases = true;
  TinyModel model(options);
  const ModelConfig& c = model.source.config;
  ASSERT_LT(c.kv_heads, c.heads);
  const std::vector<float> before = hidden_states(model);
  for (int layer = 0; layer < static_cast<int>(c.layers); ++layer) {
    const unsigned seed = static_cast<unsigned>(layer) * 10;
    const Folding folding{factors(c.hidden, seed), factors(c.kv_heads * c.head_dim, seed + 1),
                          factors(c.hidden, seed + 2), factors(c.ffn, seed + 3)};
    for (const TensorInfo& tensor : model.store().tensors()) {
      const auto id = from_hf_name(tensor.name);
      if (!id || id->layer != layer) continue;
      std::vector<std::byte>& bytes = model.store().bytes(tensor.name);
      std::vector<float> values = floats(bytes);
      fold(folding, c, *id, tensor.cols(), values);
      std::memcpy(bytes.data(), values.data(), bytes.size());
    }
  }
  const std::vector<float> after = hidden_states(model);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_NEAR(before[i], after[i], 1e-4F * std::max(1.0F, std::abs(before[i])));
}

TEST(ChannelScales, AreTheMethodsFormulas) {
  const std::vector<float> x = {1, -4, 0, 3, 4, 0};  // two tokens, three channels
  ChannelStatistics s = activation_statistics(x.data(), 2, 3);
  EXPECT_THAT(s.mean_activation, testing::ElementsAre(2, 4, 0));
  EXPECT_THAT(s.max_activation, testing::ElementsAre(3, 4, 0));
  EXPECT_THAT(s.mean_square, testing::ElementsAre(5, 16, 0));
  add_weights(s, std::vector<float>{2, -1, 4}, 0);
  add_weights(s, std::vector<float>{0, 1, -0.5F}, 1);
  EXPECT_THAT(s.max_weight, testing::ElementsAre(2, 1, 4));
  EXPECT_THAT(s.mean_weight, testing::ElementsAre(0.25F, 0.625F, 0.75F));
  EXPECT_THAT(smoothquant_scales(s, 0.5),
              testing::ElementsAre(testing::FloatEq(std::sqrt(1.5F)), testing::FloatEq(2), testing::FloatEq(1)));
  // Ratios 1, without weights: mean |x|, its middle of least (guarded) and greatest brought to 1.
  EXPECT_NEAR(awq_scales(s, 1, false)[1] / awq_scales(s, 1, false)[0], 2, 1e-5);
  const std::vector<float> half = awq_scales(s, 0.5, true);
  EXPECT_NEAR(half[1] / half[0], std::sqrt(4.0 / 2.0) * (std::sqrt(0.25) + 1e-4) / (std::sqrt(0.625) + 1e-4), 1e-4);
}

TEST(ChannelScales, HeadsThatShareAValueHeadAreOneChannel) {
  ChannelStatistics s;
  s.mean_activation = s.mean_square = s.max_activation = s.mean_weight = s.max_weight = {1, 2, 3, 4, 5, 6, 7, 8};
  const ChannelStatistics merged = merge_heads(s, 4, 2, 2);
  EXPECT_THAT(merged.mean_activation, testing::ElementsAre(2, 3, 6, 7));
  EXPECT_THAT(merged.max_weight, testing::ElementsAre(3, 4, 7, 8));
  ModelConfig c;
  c.heads = 4, c.kv_heads = 2, c.head_dim = 2;
  EXPECT_THAT(spread_over_heads({1, 2, 3, 4}, c), testing::ElementsAre(1, 2, 1, 2, 3, 4, 3, 4));
}

TEST(Transform, NamesAreKnownOrRefused) {
  for (const Transform t : {Transform::None, Transform::Awq, Transform::SmoothQuant}) {
    EXPECT_EQ(transform_named(transform_name(t)), t);
  }
  EXPECT_THROW(transform_named("spin"), Error);
}

using Tensors = std::map<size_t, std::vector<std::byte>>;

TinyOptions gguf_options() {
  TinyOptions out{tiny_config(64)};
  out.gguf = true;
  return out;
}

/// A model some of whose channels are driven thirty times as strongly as the others.
std::unique_ptr<TinyModel> uneven_model() {
  auto model = std::make_unique<TinyModel>(gguf_options());
  for (const int layer : {0, 1}) {
    for (const Role role : {Role::AttentionNorm, Role::FfnNorm}) {
      std::vector<std::byte>& bytes = model->store().bytes(gguf_name({role, layer}));
      std::vector<float> norm = floats(bytes);
      for (size_t c = 3; c < norm.size(); c += 7) norm[c] *= 30;
      std::memcpy(bytes.data(), norm.data(), bytes.size());
    }
  }
  return model;
}

PlanOptions plan_options(const LayerwiseOptions& options) {
  PlanOptions out;
  out.mixture = find_mixture("Q4_0");
  out.layerwise = true;
  out.transformed = options.transform.kind != Transform::None;
  return out;
}

Tensors quantize_tiny(const TinyModel& model, const LayerwiseOptions& options, int threads = 2) {
  const Plan plan = make_plan(model.source, plan_options(options));
  ThreadPool pool(threads);
  MemoryWriter writer;
  const auto target = gguf_target(plan, model.source, writer, pool);
  std::vector<int32_t> ids;
  for (int i = 0; i < 16 * 64; ++i) ids.push_back((i * 31 + i / 64 * 7) % 96);
  round_layerwise(model.source, ids, 64, options, *target, pool);
  return std::move(writer.tensors);
}

/// How far the quantized layers take the model's hidden states from the original's, squared.
double damage(const LayerwiseOptions& options) {
  const auto original = uneven_model(), quantized = uneven_model();
  const Plan plan = make_plan(original->source, plan_options(options));
  for (const auto& [index, bytes] : quantize_tiny(*original, options)) {
    const PlannedTensor& t = plan.tensors[index];
    std::vector<float> values(static_cast<size_t>(t.tensor.elements()));
    decode(*t.encoding, bytes.data(), t.tensor.elements(), values.data());
    quantized->store().bytes(t.tensor.name) = as_bytes(values);
  }
  std::vector<int32_t> ids;
  for (int i = 0; i < 48; ++i) ids.push_back((i * 17 + 5) % 96);
  const std::vector<float> a = hidden_states(*original, ids), b = hidden_states(*quantized, ids);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i] - b[i]), 2);
  return sum;
}

TEST(Transform, FoldingHelpsWhereActivationsAreUneven) {
  const double plain = damage({.gptq = false}), awq = damage({.transform = {Transform::Awq}, .gptq = false});
  EXPECT_LT(awq, 0.9 * plain);
  EXPECT_GT(awq, 0);
}

TEST(Transform, StoresEveryFoldedWeightTheSameForAnyThreads) {
  const auto model = uneven_model();
  for (const Transform kind : {Transform::Awq, Transform::SmoothQuant}) {
    const LayerwiseOptions options{.transform = {kind}, .gptq = false};
    const Tensors one = quantize_tiny(*model, options, 1), three = quantize_tiny(*model, options, 3);
    EXPECT_EQ(one.size(), 2u * (7 + 2) + 1);  // matrices and norms of two layers, and the output
    EXPECT_EQ(one, three);
  }
}

}  // namespace
}  // namespace lowbit
