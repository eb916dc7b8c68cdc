#include "quantize/transform/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "quantize/transform/channel_scales.h"

namespace lowbit {
namespace {

constexpr int kRatios = 10;  // of AWQ's grid, for each of its two rules

constexpr std::pair<std::string_view, Transform> kNames[] = {
    {"none", Transform::None}, {"awq", Transform::Awq}, {"smoothquant", Transform::SmoothQuant}};

/// Matrices that read the same channels, and what may be done to those.
struct Readers {
  std::vector<Linear*> linears;
  const float* inputs;  ///< [tokens, cols]
  bool over_heads = false;
  /// The weight that makes the channels, if it is a norm, whose factors should be exact as stored.
  const std::vector<float>* norm = nullptr;
  WeightId norm_id{};
};

class FoldingSearch {
 public:
  FoldingSearch(const TransformOptions& options, int index, LayerPass& pass, LayerWeights& layer,
                RoundingPreview& rounding)
      : options_(options), index_(index), pass_(pass), layer_(layer), rounding_(rounding) {}

  Folding run() {
    const size_t states = static_cast<size_t>(pass_.count() * pass_.config.hidden);
    start_.assign(pass_.x.begin(), pass_.x.begin() + static_cast<std::ptrdiff_t>(states));
    Folding out;
    pass_.normalize(layer_.attention_norm);
    const std::vector<float> normed = pass_.normed;
    attend();
    const std::vector<float> attended = pass_.attended, middle = pass_.x;
    out.attention = find({{&layer_.q, &layer_.k, &layer_.v},
                          normed.data(),
                          false,
                          &layer_.attention_norm,
                          {Role::AttentionNorm, index_}},
                         middle, [&] { attend(); });
    if (options_.kind == Transform::Awq) {
      out.value = find({{&layer_.attention_output}, attended.data(), true}, middle, [&] {
        restore(start_);
        pass_.attended = attended;
        pass_.project_attended(layer_, nullptr);
      });
    }
    mlp(middle, out);
    return out;
  }

 private:
  void mlp(const std::vector<float>& middle, Folding& out) {
    restore(middle);
    pass_.normalize(layer_.ffn_norm);
    const std::vector<float> normed = pass_.normed;
    const auto run = [&] {
      restore(middle);
      pass_.activate(layer_, nullptr);
      pass_.project_down(layer_, nullptr);
    };
    run();
    const std::vector<float> inner = pass_.gate, end = pass_.x;
    out.ffn =
        find({{&layer_.gate, &layer_.up}, normed.data(), false, &layer_.ffn_norm, {Role::FfnNorm, index_}}, end, run);
    if (options_.kind != Transform::Awq) return;
    out.inner = find({{&layer_.down}, inner.data()}, end, [&] {
      restore(middle);
      pass_.gate = inner;
      pass_.project_down(layer_, nullptr);
    });
  }

  void restore(const std::vector<float>& x) { std::copy_n(x.begin(), start_.size(), pass_.x.begin()); }

  /// From the normalised inputs to the end of the attention block.
  void attend() {
    restore(start_);
    pass_.project_qkv(layer_, 0, nullptr);
    pass_.attend(0);
    pass_.project_attended(layer_, nullptr);
  }

  /// The factors for the channels that `readers` read. `run` computes the block's output from layer_ into pass_.x;
  /// `wanted` is what it should be.
  template <typename Run>
  std::vector<float> find(const Readers& readers, const std::vector<float>& wanted, const Run& run) {
    std::vector<std::vector<float>> weights;
    bool any = false;
    for (const Linear* linear : readers.linears) {
      weights.push_back(rounding_.weights(linear->id, 0, rounding_.rows(linear->id)));
      any |= rounding_.rounds(linear->id);
    }
    if (!any) return {};
    const ChannelStatistics all = statistics(readers, weights);
    const ModelConfig& c = pass_.config;
    const ChannelStatistics merged = readers.over_heads ? merge_heads(all, c.heads, c.kv_heads, c.head_dim) : all;
    std::vector<std::vector<float>> candidates = proposals(merged);
    for (std::vector<float>& candidate : candidates) snap(readers, candidate);
    if (candidates.size() == 1) return candidates.front();
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < candidates.size(); ++i) {
      const std::vector<float> factors = readers.over_heads ? spread_over_heads(candidates[i], c) : candidates[i];
      const double loss = try_out(readers, weights, factors, all.mean_square, wanted, run);
      if (loss < least) {
        least = loss;
        best = i;
      }
    }
    return best == 0 ? std::vector<float>() : candidates[best];  // the first is no change
  }

  ChannelStatistics statistics(const Readers& readers, const std::vector<std::vector<float>>& weights) const {
    const int64_t cols = readers.linears.front()->w.cols();
    ChannelStatistics out = activation_statistics(readers.inputs, pass_.count(), cols);
    int64_t rows = 0;
    for (const std::vector<float>& w : weights) {
      add_weights(out, w, rows);
      rows += static_cast<int64_t>(w.size()) / cols;
    }
    return out;
  }

  std::vector<std::vector<float>> proposals(const ChannelStatistics& s) const {
    if (options_.kind == Transform::SmoothQuant) return {smoothquant_scales(s, options_.migration)};
    std::vector<std::vector<float>> out = {std::vector<float>(s.mean_activation.size(), 1.0F)};
    for (int i = 1; i <= kRatios; ++i) {
      for (const bool duo : {false, true}) out.push_back(awq_scales(s, static_cast<double>(i) / kRatios, duo));
    }
    return out;
  }

  /// A norm is stored in the type it has: factors are such that what it becomes is exact in it.
  void snap(const Readers& readers, std::vector<float>& factors) const {
    if (readers.norm == nullptr) return;
    const Encoding& type = rounding_.dense(readers.norm_id);
    for (size_t c = 0; c < factors.size(); ++c) {
      const float norm = (*readers.norm)[c];
      float divided = norm / factors[c];
      std::array<std::byte, sizeof(float)> stored{};
      encode_float(type, &divided, 1, stored.data());
      decode(type, stored.data(), 1, &divided);
      const float exact = norm / divided;
      factors[c] = std::isfinite(exact) && exact > 0 ? exact : 1;
    }
  }

  /// The mean squared change of the block's output if its readers are rounded with these factors.
  template <typename Run>
  double try_out(const Readers& readers, const std::vector<std::vector<float>>& weights,
                 const std::vector<float>& factors, const std::vector<float>& mean_square,
                 const std::vector<float>& wanted, const Run& run) {
    std::vector<float> importance(factors.size());
    for (size_t c = 0; c < factors.size(); ++c) importance[c] = mean_square[c] / (factors[c] * factors[c]);
    std::vector<std::pair<Linear*, Linear>> originals;
    for (size_t i = 0; i < readers.linears.size(); ++i) {
      Linear& linear = *readers.linears[i];
      if (!rounding_.rounds(linear.id)) continue;
      Linear rounded{linear.id, rounded_with(linear, weights[i], factors, importance), {}, linear.bias};
      originals.emplace_back(&linear, std::exchange(linear, std::move(rounded)));
    }
    run();
    for (auto& [linear, original] : originals) *linear = std::move(original);
    double sum = 0;
    for (size_t i = 0; i < start_.size(); ++i) {
      const double change = static_cast<double>(pass_.x[i]) - static_cast<double>(wanted[i]);
      sum += change * change;
    }
    return sum;
  }

  PackedMatrix rounded_with(const Linear& linear, std::vector<float> w, const std::vector<float>& factors,
                            const std::vector<float>& importance) {
    const auto cols = static_cast<int64_t>(factors.size()), rows = static_cast<int64_t>(w.size()) / cols;
    for (size_t i = 0; i < w.size(); ++i) w[i] *= factors[i % factors.size()];
    rounding_.preview(linear.id, w, rows, importance);
    for (size_t i = 0; i < w.size(); ++i) w[i] /= factors[i % factors.size()];
    const std::vector<int64_t> order = rounding_.hf_order(linear.id);
    return pack_matrix(encoding(EncodingId::F32), rows, cols, reinterpret_cast<const std::byte*>(w.data()),
                       order.empty() ? nullptr : order.data(), pass_.pool);
  }

  const TransformOptions options_;
  const int index_;
  LayerPass& pass_;
  LayerWeights& layer_;
  RoundingPreview& rounding_;
  std::vector<float> start_;
};

}  // namespace

Transform transform_named(std::string_view name) {
  for (const auto& [known, transform] : kNames) {
    if (known == name) return transform;
  }
  fail("--transform {}: is no transform; known are none, awq, smoothquant", name);
}

std::string_view transform_name(Transform transform) {
  for (const auto& [name, known] : kNames) {
    if (known == transform) return name;
  }
  return "";
}

Folding find_folding(const TransformOptions& options, int index, LayerPass& pass, LayerWeights& layer,
                     RoundingPreview& rounding) {
  return FoldingSearch(options, index, pass, layer, rounding).run();
}

}  // namespace lowbit
