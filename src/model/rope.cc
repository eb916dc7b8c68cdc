// Rotary position embedding: the frequency of each pair of channels, with the scalings for long contexts.
#include <cmath>
#include <numbers>

#include "model/config.h"

namespace lowbit {
namespace {

/// Llama 3's scaling (modeling_rope_utils.py of transformers): long waves are slowed by `factor`, short ones are left
/// alone, those between are blended.
template <typename Float>
Float llama3_divisor(Float frequency, const RopeScaling& s) {
  const Float wavelength = static_cast<Float>(2 * std::numbers::pi) / frequency;
  const auto context = static_cast<Float>(s.original_context);
  if (wavelength < context / static_cast<Float>(s.high_freq_factor)) return 1;
  if (wavelength > context / static_cast<Float>(s.low_freq_factor)) return static_cast<Float>(s.factor);
  const Float smooth = (context / wavelength - static_cast<Float>(s.low_freq_factor)) /
                       static_cast<Float>(s.high_freq_factor - s.low_freq_factor);
  return 1 / ((1 - smooth) / static_cast<Float>(s.factor) + smooth);
}

}  // namespace

std::vector<double> rope_frequencies(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  std::vector<double> out(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    double f = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope.type == RopeScaling::Type::Linear) f /= config.rope.factor;
    if (config.rope.type == RopeScaling::Type::Llama3) f /= llama3_divisor<double>(f, config.rope);
    if (!config.rope.factors.empty()) f /= static_cast<double>(config.rope.factors[static_cast<size_t>(i)]);
    out[static_cast<size_t>(i)] = f;
  }
  return out;
}

std::vector<float> rope_factors(const ModelConfig& config) {
  if (config.rope.type != RopeScaling::Type::Llama3) return config.rope.factors;
  std::vector<float> out(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < out.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    const float frequency = 1.0F / static_cast<float>(std::pow(config.rope_theta, static_cast<double>(exponent)));
    out[i] = llama3_divisor<float>(frequency, config.rope);
  }
  return out;
}

}  // namespace lowbit
