#include "quantize/calibration/random_tokens.h"

#include <algorithm>
#include <cmath>

#include "quantize/layerwise/layer_stream.h"

namespace lowbit {
namespace {

constexpr int64_t kTokens = 32;

bool wants_importance(const PlannedTensor& planned) {
  return planned.encoding->kind == EncodingKind::Block && planned.tensor.id.layer >= 0 && !planned.layerwise &&
         planned.importance.empty();
}

}  // namespace

std::vector<int32_t> random_tokens(const ModelConfig& config) {
  constexpr double kGolden = 0.6180339887498949;
  std::vector<int32_t> out;
  for (int64_t i = 1; i <= std::min(kTokens, config.context); ++i) {
    const double at = static_cast<double>(i) * kGolden;
    out.push_back(static_cast<int32_t>((at - std::floor(at)) * static_cast<double>(config.vocab)));
  }
  return out;
}

RandomTokens::RandomTokens(const ModelSource& source, int layers, ThreadPool& pool) : sums_(pool) {
  if (layers == 0) return;
  const std::vector<int32_t> tokens = random_tokens(source.config);
  const auto count = static_cast<int64_t>(tokens.size());
  LayerStream stream(source.config, pool, count, nullptr);
  stream.embed(source, tokens);
  for (int layer = 0; layer < layers; ++layer) {
    uint64_t bytes = 0;
    stream.weights = {};
    stream.weights = load_layer(source, layer, pool, bytes);
    stream.enter(0, count);
    stream.pass.attention_block(stream.weights, 0, false, &sums_);
    stream.pass.ffn_block(stream.weights, &sums_);
    stream.leave(0);
  }
}

std::vector<float> RandomTokens::importance(const WeightId& matrix) const {
  std::vector<float> means = sums_.means(matrix);
  const bool sound = std::ranges::all_of(means, [](float x) { return std::isfinite(x); });
  return sound ? means : std::vector<float>();
}

bool wants_random_tokens(const Plan& plan) { return std::ranges::any_of(plan.tensors, wants_importance); }

void estimate_importance(Plan& plan, const ModelSource& source, ThreadPool& pool) {
  if (!wants_random_tokens(plan)) return;
  int layers = 0;
  for (const PlannedTensor& planned : plan.tensors) {
    if (wants_importance(planned)) layers = std::max(layers, planned.tensor.id.layer + 1);
  }
  const RandomTokens seen(source, layers, pool);
  for (PlannedTensor& planned : plan.tensors) {
    if (wants_importance(planned)) planned.importance = seen.importance(planned.tensor.id);
  }
}

}  // namespace lowbit
