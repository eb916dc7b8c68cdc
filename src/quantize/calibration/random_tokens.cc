#include "quantize/calibration/random_tokens.h"

#include <algorithm>
#include <cmath>

#include "base/progress.h"

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

RandomTokens::RandomTokens(const ModelSource& source, ThreadPool& pool) : source_(source), pool_(pool), sums_(pool) {}

void RandomTokens::run_next_layer() {
  const std::vector<int32_t> tokens = random_tokens(source_.config);
  const auto count = static_cast<int64_t>(tokens.size());
  if (!stream_) {
    stream_.emplace(source_.config, pool_, count, nullptr);
    stream_->embed(source_, tokens);
  }
  uint64_t bytes = 0;
  stream_->weights = load_layer(source_, next_++, pool_, bytes);
  stream_->enter(0, count);
  stream_->pass.attention_block(stream_->weights, 0, false, &sums_);
  stream_->pass.ffn_block(stream_->weights, &sums_);
  stream_->leave(0);
  stream_->weights = {};
}

std::vector<float> RandomTokens::importance(const WeightId& matrix) {
  while (next_ <= matrix.layer) run_next_layer();
  std::vector<float> means = sums_.means(matrix);
  const bool sound = std::ranges::all_of(means, [](float x) { return std::isfinite(x); });
  return sound ? means : std::vector<float>();
}

bool wants_random_tokens(const Plan& plan) { return std::ranges::any_of(plan.tensors, wants_importance); }

void estimate_importance(Plan& plan, RandomTokens& tokens) {
  const auto matrices = std::ranges::count_if(plan.tensors, wants_importance);
  if (matrices == 0) return;
  Progress progress("running random tokens", static_cast<uint64_t>(matrices));
  for (PlannedTensor& planned : plan.tensors) {
    if (!wants_importance(planned)) continue;
    planned.importance = tokens.importance(planned.tensor.id);
    progress.add(1, planned.tensor.name);
  }
}

}  // namespace lowbit
