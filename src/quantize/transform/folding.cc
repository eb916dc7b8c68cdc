#include "quantize/transform/folding.h"

namespace lowbit {
namespace {

/// What the outputs of a weight are divided by.
const std::vector<float>* output_factors(const Folding& f, const WeightId& id) {
  switch (id.role) {
    case Role::AttentionNorm:
      return &f.attention;
    case Role::FfnNorm:
      return &f.ffn;
    case Role::V:
      return &f.value;
    case Role::Up:
      return &f.inner;
    default:
      return nullptr;
  }
}

}  // namespace

bool is_folded_vector(const WeightId& id) {
  if (id.role == Role::AttentionNorm || id.role == Role::FfnNorm) return true;
  return id.bias && (id.role == Role::V || id.role == Role::Up);
}

std::vector<float> spread_over_heads(const std::vector<float>& values, const ModelConfig& config) {
  std::vector<float> out;
  const int64_t group = config.heads / config.kv_heads;
  for (int64_t h = 0; h < config.heads; ++h) {
    const auto head = values.begin() + h / group * config.head_dim;
    out.insert(out.end(), head, head + config.head_dim);
  }
  return out;
}

std::vector<float> input_factors(const Folding& f, const ModelConfig& config, Role role) {
  switch (role) {
    case Role::Q:
    case Role::K:
    case Role::V:
      return f.attention;
    case Role::AttentionOutput:
      return f.value.empty() ? std::vector<float>() : spread_over_heads(f.value, config);
    case Role::Gate:
    case Role::Up:
      return f.ffn;
    case Role::Down:
      return f.inner;
    default:
      return {};
  }
}

void fold(const Folding& folding, const ModelConfig& config, const WeightId& id, int64_t cols,
          std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  const std::vector<float> in = id.bias ? std::vector<float>() : input_factors(folding, config, id.role);
  for (int64_t i = 0; i < n && !in.empty(); ++i) values[i] *= in[i % cols];
  const std::vector<float>* out = output_factors(folding, id);
  if (out == nullptr || out->empty()) return;
  const int64_t width = n / static_cast<int64_t>(out->size());  // weights a channel: 1 in norms and biases
  for (int64_t i = 0; i < n; ++i) values[i] /= (*out)[i / width];
}

}  // namespace lowbit
