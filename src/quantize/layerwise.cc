#include "quantize/layerwise.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/progress.h"
#include "model/layer_pass.h"
#include "quantize/linalg.h"

namespace lowbit {
namespace {

constexpr int64_t kSliceTokens = 2048;  // that go through a layer together
constexpr int kDampingTries = 5;        // each ten times the one before
constexpr int kSteps = 5;               // of the work on a layer that progress tells

/// The hidden states of all calibration tokens in one model, and the way through one of its layers.
class Stream {
 public:
  Stream(const ModelConfig& config, ThreadPool& pool, int64_t length)
      : pass(one_layer(config), pool, ActivationScales::Fine), length_(length) {
    for (int64_t i = 0; i < std::max<int64_t>(1, kSliceTokens / length); ++i) caches_.emplace_back(pass.config, length);
  }

  void embed(const ModelSource& source, std::span<const int32_t> tokens) {
    const TensorInfo& table = source.store->at(source.name({Role::TokenEmbedding}));
    const int64_t hidden = pass.config.hidden;
    x.resize(tokens.size() * static_cast<size_t>(hidden));
    attended.resize(tokens.size() * static_cast<size_t>(pass.q_dim));
    for (size_t t = 0; t < tokens.size(); ++t) {
      if (tokens[t] < 0 || tokens[t] >= source.config.vocab)
        fail("calibration token {} is not in the vocabulary", tokens[t]);
      read_rows(*source.store, table, tokens[t], 1, x.data() + static_cast<int64_t>(t) * hidden);
    }
  }

  /// Prepares the pass for tokens [begin, begin + count), whole sequences.
  void enter(int64_t begin, int64_t count) {
    place(count);
    copy(x, begin * pass.config.hidden, count * pass.config.hidden, pass.x);
  }
  /// Prepares the pass for as many of the sequences in `tokens` tokens as it takes at once, evenly spaced.
  void enter_sample(int64_t tokens) {
    const int64_t sequences = tokens / length_, taken = std::min(sequences, static_cast<int64_t>(caches_.size()));
    const int64_t hidden = pass.config.hidden, size = length_ * hidden;
    place(taken * length_);
    pass.x.resize(std::max(pass.x.size(), static_cast<size_t>(taken * size)));
    for (int64_t i = 0; i < taken; ++i) {
      std::copy_n(x.begin() + i * sequences / taken * size, size, pass.x.begin() + i * size);
    }
  }
  void leave(int64_t begin) {
    std::copy_n(pass.x.begin(), pass.count() * pass.config.hidden, x.begin() + begin * pass.config.hidden);
  }

  static void copy(const std::vector<float>& from, int64_t at, int64_t size, std::vector<float>& to) {
    if (static_cast<int64_t>(to.size()) < size) to.resize(static_cast<size_t>(size));
    std::copy_n(from.begin() + at, size, to.begin());
  }

  LayerPass pass;
  std::vector<float> x, attended;
  LayerWeights weights;

 private:
  void place(int64_t count) {
    pass.tokens.clear();
    for (int64_t t = 0; t < count; ++t) {
      pass.tokens.push_back({0, t % length_, &caches_[static_cast<size_t>(t / length_)], 0});
    }
    pass.set_angles();
  }

  static ModelConfig one_layer(ModelConfig config) {
    config.layers = 1;
    return config;
  }

  const int64_t length_;
  std::vector<KvCache> caches_;
};

/// Inputs of some matrices, which share them.
struct Statistics {
  Statistics(const LayerwiseOptions& options, Role reader, int64_t columns, int64_t residual)
      : role(reader),
        cols(columns),
        squares(static_cast<size_t>(columns)),
        inputs(options.gptq ? cols : 0, options.gptq ? cols : 0, true),
        cross(options.gptq && options.alpha > 0 ? cols : 0, options.gptq && options.alpha > 0 ? cols : 0, false),
        error(options.gptq && options.beta > 0 ? residual : 0, residual > 0 ? cols : 0, false) {}
  Role role;  ///< of one of the matrices
  int64_t cols;
  std::vector<double> squares;  ///< sums of squares a channel, where the whole of H is not needed
  int64_t tokens = 0;
  Gram inputs;  ///< of the quantized model
  Gram cross;   ///< [quantized, original]
  Gram error;   ///< [hidden, cols]: what the quantized model's residual stream lacks, against its inputs
};

class Layerwise {
 public:
  Layerwise(const ModelSource& source, std::span<const int32_t> tokens, int64_t length, const LayerwiseOptions& options,
            LayerwiseTarget& target, ThreadPool& pool)
      : source_(source),
        config_(source.config),
        options_(options),
        target_(target),
        pool_(pool),
        tokens_(static_cast<int64_t>(tokens.size())),
        slice_(std::max<int64_t>(1, kSliceTokens / length) * length),
        correct_(options.gptq && (options.alpha > 0 || options.beta > 0)),
        original_(source.config, pool, length),
        quantized_(source.config, pool, length) {
    quantized_.embed(source, tokens);
    if (correct_) original_.embed(source, tokens);
  }

  std::vector<MatrixReport> run() {
    Progress progress("rounding", static_cast<uint64_t>(config_.layers * kSteps));
    for (int i = 0; i < static_cast<int>(config_.layers); ++i) {
      uint64_t bytes = 0;
      original_.weights = load_layer(source_, i, pool_, bytes);
      transform(i);
      progress.add(1, fmt::format("layer {}", i));
      start_quantized(i);
      attention_inputs(i);
      progress.add(1);
      attention_output(i);
      progress.add(1);
      ffn_inputs(i);
      progress.add(1);
      down(i);
      progress.add(1);
      finish_layer();
    }
    return std::move(reports_);
  }

 private:
  /// What is folded in this layer, found on as many whole sequences as go through it together, from all of the text.
  void transform(int layer) {
    folding_ = {};
    if (options_.transform.kind == Transform::None) return;
    quantized_.enter_sample(tokens_);
    folding_ = find_folding(options_.transform, layer, quantized_.pass, original_.weights, target_);
  }

  /// The norm or bias as it will be read; empty if there is none.
  std::vector<float> folded(const WeightId& id, std::vector<float> values) {
    if (options_.transform.kind == Transform::None || values.empty() || !is_folded_vector(id)) return values;
    fold(folding_, config_, id, static_cast<int64_t>(values.size()), values);
    target_.put(id, values);
    return values;
  }

  /// Norms and biases but for what is folded into them; matrices are filled in as they are rounded.
  void start_quantized(int layer) {
    LayerWeights& to = quantized_.weights;
    const LayerWeights& from = original_.weights;
    to = LayerWeights{};
    to.attention_norm = folded({Role::AttentionNorm, layer}, from.attention_norm);
    to.ffn_norm = folded({Role::FfnNorm, layer}, from.ffn_norm);
    to.q_norm = from.q_norm;
    to.k_norm = from.k_norm;
    for (const auto part : {&LayerWeights::q, &LayerWeights::k, &LayerWeights::v, &LayerWeights::attention_output,
                            &LayerWeights::gate, &LayerWeights::up, &LayerWeights::down}) {
      (to.*part).id = (from.*part).id;
      WeightId bias = (from.*part).id;
      bias.bias = true;
      (to.*part).bias = folded(bias, (from.*part).bias);
    }
  }

  /// Runs `body(stream)` on both models' slices, then `gather` with both.
  template <typename Body, typename Gather>
  void for_slices(const Body& body, const Gather& gather) {
    for (int64_t begin = 0; begin < tokens_; begin += slice_) {
      const int64_t count = std::min(slice_, tokens_ - begin);
      for (Stream* stream : {&original_, &quantized_}) {
        if (stream == &original_ && !correct_) continue;
        stream->enter(begin, count);
        body(*stream, begin);
      }
      gather(begin, count);
    }
  }

  void add(Statistics& s, const std::vector<float>& quantized, const std::vector<float>& original, int64_t begin,
           int64_t count) {
    s.tokens += count;
    if (!options_.gptq) return add_squares(s, quantized, count);
    s.inputs.add(quantized.data(), quantized.data(), count, pool_);
    if (s.cross.rows() > 0) s.cross.add(quantized.data(), as_folded(s, original, count), count, pool_);
    if (s.error.rows() == 0) return;
    const int64_t hidden = config_.hidden;
    lacking_.resize(static_cast<size_t>(count * hidden));
    for (int64_t i = 0; i < count * hidden; ++i) {
      const auto at = static_cast<size_t>(begin * hidden + i);
      lacking_[static_cast<size_t>(i)] = original_.x[at] - quantized_.x[at];
    }
    s.error.add(lacking_.data(), quantized.data(), count, pool_);
  }

  void add_squares(Statistics& s, const std::vector<float>& x, int64_t count) const {
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t c = 0; c < s.cols; ++c) {
        const auto value = static_cast<double>(x[static_cast<size_t>(t * s.cols + c)]);
        s.squares[static_cast<size_t>(c)] += value * value;
      }
    }
  }

  /// Inputs of the original model's matrices as they would be if it were folded like the quantized one.
  const float* as_folded(const Statistics& s, const std::vector<float>& original, int64_t count) {
    const std::vector<float> factors = input_factors(folding_, config_, s.role);
    if (factors.empty()) return original.data();
    folded_.resize(static_cast<size_t>(count * s.cols));
    for (size_t i = 0; i < folded_.size(); ++i) folded_[i] = original[i] / factors[i % factors.size()];
    return folded_.data();
  }

  void attention_inputs(int layer) {
    Statistics s(options_, Role::Q, config_.hidden, 0);
    for_slices(
        [](Stream& stream, int64_t) { stream.pass.normalize(stream.weights.attention_norm); },
        [&](int64_t begin, int64_t count) { add(s, quantized_.pass.normed, original_.pass.normed, begin, count); });
    round({{Role::Q, layer}, {Role::K, layer}, {Role::V, layer}}, s,
          {&quantized_.weights.q, &quantized_.weights.k, &quantized_.weights.v});
  }

  void attention_output(int layer) {
    const int64_t q_dim = quantized_.pass.q_dim;
    Statistics s(options_, Role::AttentionOutput, q_dim, config_.hidden);
    for_slices(
        [&](Stream& stream, int64_t begin) {
          stream.pass.normalize(stream.weights.attention_norm);
          stream.pass.project_qkv(stream.weights, 0, nullptr);
          stream.pass.attend(0);
          std::copy_n(stream.pass.attended.begin(), stream.pass.count() * q_dim,
                      stream.attended.begin() + begin * q_dim);
        },
        [&](int64_t begin, int64_t count) { add(s, quantized_.pass.attended, original_.pass.attended, begin, count); });
    round({{Role::AttentionOutput, layer}}, s, {&quantized_.weights.attention_output});
  }

  void ffn_inputs(int layer) {
    const int64_t q_dim = quantized_.pass.q_dim;
    Statistics s(options_, Role::Gate, config_.hidden, 0);
    for_slices(
        [&](Stream& stream, int64_t begin) {
          Stream::copy(stream.attended, begin * q_dim, stream.pass.count() * q_dim, stream.pass.attended);
          stream.pass.project_attended(stream.weights, nullptr);
          stream.leave(begin);
          stream.pass.normalize(stream.weights.ffn_norm);
        },
        [&](int64_t begin, int64_t count) { add(s, quantized_.pass.normed, original_.pass.normed, begin, count); });
    round({{Role::Gate, layer}, {Role::Up, layer}}, s, {&quantized_.weights.gate, &quantized_.weights.up});
  }

  void down(int layer) {
    Statistics s(options_, Role::Down, config_.ffn, config_.hidden);
    for_slices(
        [](Stream& stream, int64_t) {
          stream.pass.normalize(stream.weights.ffn_norm);
          stream.pass.activate(stream.weights, nullptr);
        },
        [&](int64_t begin, int64_t count) { add(s, quantized_.pass.gate, original_.pass.gate, begin, count); });
    round({{Role::Down, layer}}, s, {&quantized_.weights.down});
  }

  void finish_layer() {
    for_slices(
        [](Stream& stream, int64_t begin) {
          stream.pass.ffn_block(stream.weights, nullptr);
          stream.leave(begin);
        },
        [](int64_t, int64_t) {});
  }

  /// What GPTQ needs of the inputs of some matrices.
  struct Factored {
    GptqProblem problem;
    std::vector<float> hessian;  ///< [cols, cols], without damping
    std::vector<float> u;        ///< empty: could not be factored
    double damping = 0;
  };

  /// Only the mean squares of the channels: what the nearest codes are weighted by.
  Factored mean_squares(const Statistics& s, const WeightId& id) const {
    Factored out;
    for (const double sum : s.squares) {
      check_finite(sum, id);
      out.problem.importance.push_back(static_cast<float>(sum / static_cast<double>(s.tokens)));
    }
    return out;
  }

  void check_finite(double mean_square, const WeightId& id) const {
    if (std::isfinite(mean_square)) return;
    fail("{}: the inputs of {} are not finite on the calibration text: the model's weights are damaged",
         source_.store->where(), gguf_name(id));
  }

  Factored factor(const Gram& inputs, const WeightId& id) const {
    const int64_t n = inputs.cols();
    SquareMatrix h(n);
    h.values = inputs.mean();
    Factored out;
    out.problem.sweeps = options_.sweeps;
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      check_finite(h.at(i, i), id);
      out.problem.importance.push_back(static_cast<float>(h.at(i, i)));
      sum += h.at(i, i);
    }
    out.hessian.assign(h.values.begin(), h.values.end());
    const double mean = sum / static_cast<double>(n);
    if (mean <= 0) return out;
    double added = 0;
    out.damping = options_.damping;
    for (int attempt = 0; attempt < kDampingTries; ++attempt, out.damping *= 10) {
      const double wanted = out.damping * mean;
      for (int64_t i = 0; i < n; ++i) h.at(i, i) += wanted - added;
      added = wanted;
      if (!inverse_factor(h, out.u)) continue;
      out.problem.spread = make_spread(out.u, n);
      if (options_.sweeps > 0) out.problem.hessian.assign(h.values.begin(), h.values.end());
      return out;
    }
    out.u.clear();
    out.damping = 0;  // none served
    return out;
  }

  /// The weights whose product with the quantized model's inputs comes closest to what is wanted of it.
  void correct(const Statistics& s, const Factored& f, int64_t rows, std::vector<float>& weights) const {
    const int64_t n = s.cols;
    std::vector<float> wanted(static_cast<size_t>(rows * n));
    if (s.cross.rows() > 0) {
      const std::vector<double> cross = s.cross.mean();
      std::vector<float> difference(cross.size());
      for (size_t i = 0; i < cross.size(); ++i) {
        difference[i] = static_cast<float>(options_.alpha * (cross[i] - static_cast<double>(f.hessian[i])));
      }
      wanted = product(weights, rows, difference, n, n, pool_);
    }
    if (s.error.rows() > 0) {
      const std::vector<double> error = s.error.mean();
      for (size_t i = 0; i < error.size(); ++i) wanted[i] += static_cast<float>(options_.beta * error[i]);
    }
    const std::vector<float> change = times_inverse(wanted, rows, f.u, n, pool_);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] += change[i];
  }

  void round(const std::vector<WeightId>& ids, const Statistics& s, const std::vector<Linear*>& linears) {
    const Factored f = options_.gptq ? factor(s.inputs, ids.front()) : mean_squares(s, ids.front());
    for (size_t i = 0; i < ids.size(); ++i) round_one(ids[i], s, f, *linears[i]);
  }

  void round_one(const WeightId& id, const Statistics& s, const Factored& f, Linear& linear) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> weights = target_.weights(id);
    const int64_t rows = static_cast<int64_t>(weights.size()) / s.cols;
    fold(folding_, config_, id, s.cols, weights);
    if (target_.rounds(id)) {
      const std::vector<float> before = weights;
      const bool able = !f.u.empty();
      if (able && correct_) correct(s, f, rows, weights);
      const bool solved = target_.round(id, weights, rows, f.problem) && able;
      const double error = relative_error(before, weights, rows, f);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      reports_.push_back({target_.name(id), target_.encoding(id), error, f.damping, options_.gptq && !solved, seconds});
    } else if (options_.transform.kind != Transform::None) {
      target_.put(id, weights);
    }
    const std::vector<int64_t> order = target_.hf_order(id, rows);
    linear.w = pack_matrix(encoding(EncodingId::F32), rows, s.cols, reinterpret_cast<const std::byte*>(weights.data()),
                           order.empty() ? nullptr : order.data(), pool_);
  }

  double relative_error(const std::vector<float>& before, const std::vector<float>& after, int64_t rows,
                        const Factored& f) const {
    std::vector<float> difference(before.size());
    for (size_t i = 0; i < before.size(); ++i) difference[i] = before[i] - after[i];
    const auto n = static_cast<int64_t>(f.problem.importance.size());
    const auto energy = [&](const std::vector<float>& x) {
      if (f.hessian.empty()) return weighted_squares(x, f.problem.importance);
      const std::vector<float> y = product(x, rows, f.hessian, n, n, pool_);
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
      return sum;
    };
    const double whole = energy(before);
    return whole > 0 ? energy(difference) / whole : 0;
  }

  static double weighted_squares(const std::vector<float>& x, const std::vector<float>& weights) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]) * static_cast<double>(weights[i % weights.size()]);
    }
    return sum;
  }

  const ModelSource& source_;
  const ModelConfig& config_;
  const LayerwiseOptions options_;
  LayerwiseTarget& target_;
  ThreadPool& pool_;
  const int64_t tokens_, slice_;
  const bool correct_;
  Stream original_, quantized_;
  Folding folding_;
  std::vector<float> lacking_, folded_;
  std::vector<MatrixReport> reports_;
};

}  // namespace

uint64_t layerwise_memory(const ModelConfig& c, int64_t tokens) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const auto layer = static_cast<uint64_t>((2 * q + 2 * kv) * c.hidden + 3 * c.hidden * c.ffn) * 2 * sizeof(float);
  const auto widest = static_cast<uint64_t>(std::max({c.hidden, c.ffn, q}));
  const auto states = static_cast<uint64_t>(tokens) * static_cast<uint64_t>(c.hidden + q);
  // H and the cross products in binary64 with their slices in binary32, their copies, the factor and its spread.
  return states * 2 * sizeof(float) + layer + widest * widest * 64;
}

std::vector<MatrixReport> round_layerwise(const ModelSource& source, std::span<const int32_t> tokens, int64_t length,
                                          const LayerwiseOptions& options, LayerwiseTarget& target, ThreadPool& pool) {
  return Layerwise(source, tokens, length, options, target, pool).run();
}

}  // namespace lowbit
