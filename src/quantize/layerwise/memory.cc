// What layer-by-layer rounding needs, step by step as Layerwise goes through a layer.
#include <algorithm>

#include "quantize/layerwise/layer_stream.h"
#include "quantize/layerwise/layerwise.h"

namespace lowbit {
namespace {

constexpr uint64_t kFloat = sizeof(float), kHalf = sizeof(uint16_t);
constexpr uint64_t kHeap = uint64_t{24} << 20;  // that malloc keeps of blocks too small to be given back at once
constexpr uint64_t kProductRows = 1024;  // of weights that are multiplied by [cols, cols] at once, and the products

class Needs {
 public:
  Needs(const ModelSource& source, int64_t tokens, int64_t length, const LayerwiseOptions& options)
      : options_(options),
        streams_(follows_original(options) ? 2 : 1),
        tokens_(u(tokens)),
        hidden_(u(source.config.hidden)),
        ffn_(u(source.config.ffn)),
        q_(u(source.config.heads * source.config.head_dim)),
        kv_(u(source.config.kv_heads * source.config.head_dim)),
        // Whole sequences, of kSliceTokens or one.
        slice_(std::min(tokens_, u(std::max<int64_t>(1, kSliceTokens / length) * length))),
        keeps_activated_(keeps_activated(tokens, source.config.ffn)) {
    for (int layer = 0; layer < static_cast<int>(source.config.layers); ++layer) {
      uint64_t attention = 0, mlp = 0;
      for (const auto [role, part] : kLayerMatrices) {
        const TensorInfo* info = source.find({role, layer});
        if (info == nullptr) continue;
        (role == Role::Gate || role == Role::Up || role == Role::Down ? mlp : attention) += info->bytes;
      }
      attention_ = std::max(attention_, attention);
      mlp_ = std::max(mlp_, mlp);
    }
  }

  LayerwiseNeeds all() const {
    const uint64_t disk = states() + attended() + tokens_ * ffn_ * kHalf;
    return {steps(false), steps(true), disk};
  }

 private:
  static uint64_t u(int64_t x) { return static_cast<uint64_t>(x); }

  uint64_t states() const { return tokens_ * hidden_ * kHalf * streams_; }
  uint64_t attended() const { return tokens_ * q_ * kHalf * streams_; }

  /// What the passes hold of a slice, the widest of it again in the kernels' order.
  uint64_t passes() const {
    const uint64_t widest = std::max({hidden_, q_, ffn_});
    const uint64_t state_differences = streams_ > 1 ? 2 * hidden_ : 0;
    return slice_ * kFloat * (streams_ * (3 * hidden_ + 2 * q_ + 3 * kv_ + 2 * ffn_ + widest) + state_differences);
  }

  /// What matrices of n columns and at most `rows` rows ask: while inputs are gathered, and while they are rounded.
  struct Problem {
    uint64_t gather = 0, round = 0;
  };
  Problem problem(uint64_t n, uint64_t rows, uint64_t residual, bool alone) const {
    const uint64_t matrix = rows * n * kFloat, codes = rows * n;
    if (!options_.gptq) return {0, 2 * matrix + codes};
    const bool cross = options_.alpha > 0, lacks = options_.beta > 0 && residual > 0;
    const uint64_t square = n * n * kFloat, lack = lacks ? residual * n * kFloat : 0;
    const uint64_t sums = square + (cross ? square : 0) + lack;
    // Both sides of each sum in the kernels' order, and the original's inputs folded.
    const uint64_t ordered = 2 * n + (cross ? 2 * n : 0) + (lacks ? n + residual : 0) + (transforms() ? n : 0);
    const uint64_t wanted = cross && alone && rows < n ? matrix : (cross ? square : 0) + lack;
    const uint64_t factored = square + 2 * square + square + wanted;
    const uint64_t products = 6 * std::min(rows, kProductRows) * n * kFloat;
    const uint64_t rounded = 2 * square + wanted + std::max(2 * matrix + std::max(products, 2 * codes), 3 * matrix);
    return {sums + slice_ * ordered * kFloat, std::max({sums, factored, rounded})};
  }
  bool transforms() const { return options_.transform.kind != Transform::None; }

  uint64_t steps(bool spilled) const {
    const uint64_t held = spilled ? 0 : passes(), moving = passes();
    const uint64_t kept = spilled ? 0 : states(), kept_attended = spilled ? 0 : attended();
    const uint64_t kept_gates = !spilled && keeps_activated_ ? tokens_ * ffn_ * kHalf : 0;
    const uint64_t qkv = (q_ + 2 * kv_) * hidden_ * kFloat, out = q_ * hidden_ * kFloat;
    const uint64_t gate_up = 2 * ffn_ * hidden_ * kFloat, down = ffn_ * hidden_ * kFloat;
    const uint64_t journal = (qkv + out + gate_up) / kFloat;  // a byte a weight at most, before the last matrix

    const Problem inputs = problem(hidden_, std::max(q_, kv_), 0, false);
    const Problem output = problem(q_, hidden_, hidden_, true);
    const Problem ffn_inputs = problem(hidden_, ffn_, 0, false);
    const Problem last = problem(ffn_, hidden_, hidden_, true);
    const uint64_t layer = attention_ + mlp_;
    const uint64_t folding =
        transforms() ? layer + 2 * gate_up + down + down / 2 + moving + 2 * slice_ * ffn_ * kFloat : 0;
    const uint64_t most =
        std::max({folding, layer + std::max(moving + inputs.gather, held + inputs.round + qkv),  // attention_inputs
                  layer + qkv + kept_attended + moving + output.gather,                          // attention_output
                  layer + kept_attended + held + output.round + out,                             //
                  layer + out + kept_attended + moving + ffn_inputs.gather,                      // ffn_inputs
                  mlp_ + held + ffn_inputs.round + gate_up,                                      //
                  mlp_ + gate_up + journal + kept_gates + moving + last.gather,                  // down
                  (spilled || kept_gates > 0 ? 0 : gate_up) + journal + kept_gates + held + last.round + down});
    return kept + most + kHeap;
  }

  const LayerwiseOptions& options_;
  const uint64_t streams_, tokens_, hidden_, ffn_, q_, kv_, slice_;
  const bool keeps_activated_;
  uint64_t attention_ = 0, mlp_ = 0;  // bytes of a layer's matrices as the source has them
};

}  // namespace

LayerwiseNeeds layerwise_needs(const ModelSource& source, int64_t tokens, int64_t length,
                               const LayerwiseOptions& options) {
  return Needs(source, tokens, length, options).all();
}

}  // namespace lowbit
