#include "quantize/layerwise.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <optional>

#include "base/error.h"
#include "base/progress.h"
#include "model/layer_pass.h"
#include "quantize/cholesky.h"
#include "quantize/linalg.h"

namespace lowbit {
namespace {

constexpr int64_t kSliceTokens = 2048;  // that go through a layer together
constexpr int kDampingTries = 5;        // each ten times the one before
constexpr int64_t kOutputRows = 8192;   // of the output matrix rounded at once: it may be larger than a layer
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

constexpr Linear LayerWeights::*kMatrices[] = {
    &LayerWeights::q,    &LayerWeights::k,  &LayerWeights::v,   &LayerWeights::attention_output,
    &LayerWeights::gate, &LayerWeights::up, &LayerWeights::down};

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
            LayerwiseTarget& target, ThreadPool& pool, Journal* journal)
      : source_(source),
        config_(source.config),
        options_(options),
        target_(target),
        pool_(pool),
        journal_(journal),
        tokens_(static_cast<int64_t>(tokens.size())),
        slice_(std::max<int64_t>(1, kSliceTokens / length) * length),
        correct_(options.gptq && (options.alpha > 0 || options.beta > 0)),
        original_(source.config, pool, length),
        quantized_(source.config, pool, length) {
    quantized_.embed(source, tokens);
    if (correct_) original_.embed(source, tokens);
  }

  std::vector<MatrixReport> run() {
    const int layers = static_cast<int>(config_.layers);
    const bool output = target_.rounds(output_matrix(config_));
    const int steps = options_.rehearsal ? 1 : layers + (output ? 1 : 0);
    Progress progress(options_.rehearsal ? "rehearsing" : "rounding", static_cast<uint64_t>(steps * kSteps));
    int step = 0;
    for (; step < layers && restore(step); ++step) progress.add(kSteps, fmt::format("layer {}", step));
    for (; step < layers; ++step) {
      work_on_layer(step, progress);
      finish_step(step);
      if (options_.rehearsal) return std::move(reports_);
    }
    if (output) {
      if (!restore(step)) {
        round_output();
        finish_step(step);
      }
      progress.add(kSteps, "output");
    }
    return std::move(reports_);
  }

 private:
  void work_on_layer(int layer, Progress& progress) {
    load(layer);
    transform(layer);
    progress.add(1, fmt::format("layer {}", layer));
    start_quantized(layer);
    attention_inputs(layer);
    progress.add(1);
    attention_output(layer);
    progress.add(1);
    ffn_inputs(layer);
    progress.add(1);
    down(layer);
    progress.add(1);
    finish_layer();
  }

  void load(int layer) {
    uint64_t bytes = 0;
    original_.weights = load_layer(source_, layer, pool_, bytes);
  }

  /// What was done since the step before becomes durable.
  void finish_step(int step) {
    if (journal_ != nullptr) journal_->write(step, done_);
    std::move(done_.reports.begin(), done_.reports.end(), std::back_inserter(reports_));
    done_ = {};
  }

  /// Takes a step from the journal, and brings both models' hidden states to its end; false if it is not there.
  bool restore(int step) {
    std::optional<JournalStep> found = journal_ != nullptr ? journal_->read(step) : std::nullopt;
    if (!found) return false;
    std::move(found->reports.begin(), found->reports.end(), std::back_inserter(reports_));
    if (step == static_cast<int>(config_.layers)) {
      for (const JournalPiece& piece : found->pieces) target_.restore(piece);
      return true;
    }
    load(step);
    folding_ = {};
    copy_vectors();
    std::vector<Linear*> missing = quantized_matrices();
    for (const JournalPiece& piece : found->pieces) {
      std::vector<float> values = target_.restore(piece);
      if (is_matrix(piece.id)) {
        Linear& linear = quantized_matrix(piece.id);
        std::erase(missing, &linear);
        fill(linear, values);
      } else {
        vector_of(piece.id) = std::move(values);
      }
    }
    for (Linear* linear : missing) fill(*linear, target_.weights(linear->id, 0, target_.rows(linear->id)));
    for_slices(
        [](Stream& stream, int64_t begin) {
          stream.pass.attention_block(stream.weights, 0, false, nullptr);
          stream.pass.ffn_block(stream.weights, nullptr);
          stream.leave(begin);
        },
        [](int64_t, int64_t) {});
    return true;
  }

  /// What is folded in this layer, found on as many whole sequences as go through it together, from all of the text.
  void transform(int layer) {
    folding_ = {};
    if (options_.transform.kind == Transform::None) return;
    quantized_.enter_sample(tokens_);
    folding_ = find_folding(options_.transform, layer, quantized_.pass, original_.weights, target_);
  }

  /// Norms and biases, with what is folded into them; matrices are filled in as they are rounded.
  void start_quantized(int layer) {
    copy_vectors();
    if (options_.transform.kind == Transform::None) return;
    for (const WeightId& id : {WeightId{Role::AttentionNorm, layer}, WeightId{Role::V, layer, true},
                               WeightId{Role::FfnNorm, layer}, WeightId{Role::Up, layer, true}}) {
      std::vector<float>& values = vector_of(id);
      if (values.empty()) continue;
      fold(folding_, config_, id, static_cast<int64_t>(values.size()), values);
      done_.pieces.push_back({id, 0, target_.put(id, values)});
    }
  }

  void copy_vectors() {
    LayerWeights& to = quantized_.weights;
    const LayerWeights& from = original_.weights;
    to = LayerWeights{};
    to.attention_norm = from.attention_norm;
    to.ffn_norm = from.ffn_norm;
    to.q_norm = from.q_norm;
    to.k_norm = from.k_norm;
    for (const auto part : kMatrices) {
      (to.*part).id = (from.*part).id;
      (to.*part).bias = (from.*part).bias;
    }
  }

  std::vector<Linear*> quantized_matrices() {
    std::vector<Linear*> out;
    for (const auto part : kMatrices) out.push_back(&(quantized_.weights.*part));
    return out;
  }
  Linear& quantized_matrix(WeightId id) {
    id.bias = false;
    for (Linear* linear : quantized_matrices()) {
      if (linear->id == id) return *linear;
    }
    fail("the journal holds {}, which is not of its layer; remove the journal", gguf_name(id));
  }
  /// A norm or bias of the quantized layer.
  std::vector<float>& vector_of(const WeightId& id) {
    if (id.role == Role::AttentionNorm) return quantized_.weights.attention_norm;
    if (id.role == Role::FfnNorm) return quantized_.weights.ffn_norm;
    return quantized_matrix(id).bias;
  }
  void fill(Linear& linear, const std::vector<float>& weights) {
    const int64_t rows = target_.rows(linear.id), cols = static_cast<int64_t>(weights.size()) / rows;
    const std::vector<int64_t> order = target_.hf_order(linear.id, rows);
    linear.w = pack_matrix(encoding(EncodingId::F32), rows, cols, reinterpret_cast<const std::byte*>(weights.data()),
                           order.empty() ? nullptr : order.data(), pool_);
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
      if (!inverse_factor(h, out.u, pool_)) continue;
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

  /// The output matrix, from the final hidden states.
  void round_output() {
    const std::vector<float> norm = output_norm();
    Statistics s(options_, Role::Output, config_.hidden, 0);
    for_slices(
        [&](Stream& stream, int64_t) { stream.pass.normalize(norm); },
        [&](int64_t begin, int64_t count) { add(s, quantized_.pass.normed, original_.pass.normed, begin, count); });
    const WeightId id = output_matrix(config_);
    const Factored f = factored(s, id);
    MatrixReport report = new_report(id, f);
    Energy energy;
    const int64_t rows = target_.rows(id);
    for (int64_t first = 0; first < rows; first += kOutputRows) {
      round_rows(id, first, std::min(kOutputRows, rows - first), s, f, energy, report);
    }
    finish_report(report, energy);
  }

  std::vector<float> output_norm() const {
    const TensorInfo& info = source_.store->at(source_.name({Role::OutputNorm}));
    std::vector<float> out(static_cast<size_t>(info.elements()));
    read_rows(*source_.store, info, 0, info.rows(), out.data());
    return out;
  }

  Factored factored(const Statistics& s, const WeightId& id) const {
    return options_.gptq ? factor(s.inputs, id) : mean_squares(s, id);
  }

  void round(const std::vector<WeightId>& ids, const Statistics& s, const std::vector<Linear*>& linears) {
    const Factored f = factored(s, ids.front());
    for (size_t i = 0; i < ids.size(); ++i) round_matrix(ids[i], s, f, *linears[i]);
  }

  void round_matrix(const WeightId& id, const Statistics& s, const Factored& f, Linear& linear) {
    const int64_t rows = target_.rows(id);
    if (target_.rounds(id)) {
      MatrixReport report = new_report(id, f);
      Energy energy;
      fill(linear, round_rows(id, 0, rows, s, f, energy, report));
      finish_report(report, energy);
      return;
    }
    std::vector<float> weights = target_.weights(id, 0, rows);
    if (options_.transform.kind != Transform::None) {
      fold(folding_, config_, id, s.cols, weights);
      done_.pieces.push_back({id, 0, target_.put(id, weights)});
    }
    fill(linear, weights);
  }

  /// e H e^T summed over rows e of what was lost, and of the weights.
  struct Energy {
    double lost = 0, whole = 0;
  };

  MatrixReport new_report(const WeightId& id, const Factored& f) const {
    return {target_.name(id), target_.encoding(id), 0, f.damping, options_.gptq && f.u.empty(), 0};
  }
  void finish_report(MatrixReport& report, const Energy& energy) {
    report.error = energy.whole > 0 ? energy.lost / energy.whole : 0;
    done_.reports.push_back(report);
  }

  /// Returns what a reader will decode.
  std::vector<float> round_rows(const WeightId& id, int64_t first, int64_t rows, const Statistics& s, const Factored& f,
                                Energy& energy, MatrixReport& report) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> weights = target_.weights(id, first, rows);
    fold(folding_, config_, id, s.cols, weights);
    const std::vector<float> before = weights;
    if (!f.u.empty() && correct_) correct(s, f, rows, weights);
    Rounded rounded = target_.round(id, first, weights, rows, f.problem);
    if (options_.gptq && !rounded.solved) report.fell_back = true;
    if (journal_ != nullptr) done_.pieces.push_back({id, first, std::move(rounded.journal)});
    energy.whole += energy_of(before, rows, f);
    std::vector<float> difference(before.size());
    for (size_t i = 0; i < before.size(); ++i) difference[i] = before[i] - weights[i];
    energy.lost += energy_of(difference, rows, f);
    report.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return weights;
  }

  double energy_of(const std::vector<float>& x, int64_t rows, const Factored& f) const {
    if (f.hessian.empty()) return weighted_squares(x, f.problem.importance);
    const auto n = static_cast<int64_t>(f.problem.importance.size());
    const std::vector<float> y = product(x, rows, f.hessian, n, n, pool_);
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum;
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
  Journal* const journal_;
  const int64_t tokens_, slice_;
  const bool correct_;
  Stream original_, quantized_;
  Folding folding_;
  std::vector<float> lacking_, folded_;
  JournalStep done_;  // since the last finished step
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
                                          const LayerwiseOptions& options, LayerwiseTarget& target, ThreadPool& pool,
                                          Journal* journal) {
  return Layerwise(source, tokens, length, options, target, pool, journal).run();
}

}  // namespace lowbit
