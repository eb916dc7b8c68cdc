#include "quantize/calibration/random_tokens.h"

#include <algorithm>
#include <cmath>

#include "quantize/calibration/calibrate.h"
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

void estimate_importance(Plan& plan, const ModelSource& source, ThreadPool& pool) {
  int last = -1;
  for (const PlannedTensor& planned : plan.tensors) {
    if (wants_importance(planned)) last = std::max(last, planned.tensor.id.layer);
  }
  if (last < 0) return;
  const std::vector<int32_t> tokens = random_tokens(source.config);
  const auto count = static_cast<int64_t>(tokens.size());
  LayerStream stream(source.config, pool, count, nullptr);
  stream.embed(source, tokens);
  SquareSums sums(pool);
  for (int layer = 0; layer <= last; ++layer) {
    uint64_t bytes = 0;
    stream.weights = {};
    stream.weights = load_layer(source, layer, pool, bytes);
    stream.enter(0, count);
    stream.pass.attention_block(stream.weights, 0, false, &sums);
    stream.pass.ffn_block(stream.weights, &sums);
    stream.leave(0);
  }
  for (PlannedTensor& planned : plan.tensors) {
    if (!wants_importance(planned)) continue;
    std::vector<float> means = sums.means(planned.tensor.id);
    // A damaged weight is told of when its own tensor is read.
    if (std::ranges::all_of(means, [](float x) { return std::isfinite(x); })) planned.importance = std::move(means);
  }
}

}  // namespace lowbit
