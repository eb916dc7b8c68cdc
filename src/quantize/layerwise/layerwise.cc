#include "quantize/layerwise/layerwise.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <optional>

#include "base/error.h"
#include "base/progress.h"
#include "quantize/layerwise/layer_problem.h"
#include "quantize/layerwise/layer_stream.h"

namespace lowbit {
namespace {

constexpr int64_t kOutputRows = 8192;  // of the output matrix rounded at once: it may be larger than a layer
constexpr int kSteps = 5;              // of the work on a layer that progress tells

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
        correct_(follows_original(options)),
        spill_(options.spill.empty() ? nullptr
                                     : std::make_unique<ScratchFile>(
                                           options.spill, layerwise_needs(source, tokens_, length, options).disk)),
        original_(source.config, pool, length, spill_.get()),
        quantized_(source.config, pool, length, spill_.get()) {
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
    quantized_.weights = {};
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
        if (target_.rounds(piece.id)) {
          become(linear, target_.as_run(piece.id, piece.bytes));
        } else {
          fill(linear, values);
        }
      } else {
        vector_of(piece.id) = std::move(values);
      }
    }
    for (Linear* linear : missing) fill(*linear, target_.weights(linear->id, 0, target_.rows(linear->id)));
    // In the steps of work_on_layer(), between which states are rounded.
    for_slices(
        [](LayerStream& stream, int64_t begin) {
          attend(stream, begin);
          stream.bring_attended(begin);
          stream.pass.project_attended(stream.weights, nullptr);
          stream.leave(begin);
          stream.finish_ffn(begin, stream.pass.count());
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
      keep(id, 0, target_.put(id, values));
    }
  }

  /// For the journal.
  void keep(const WeightId& id, int64_t first, std::vector<std::byte> bytes) {
    if (journal_ != nullptr) done_.pieces.push_back({id, first, std::move(bytes)});
  }

  void copy_vectors() {
    LayerWeights& to = quantized_.weights;
    const LayerWeights& from = original_.weights;
    to = LayerWeights{};
    to.attention_norm = from.attention_norm;
    to.ffn_norm = from.ffn_norm;
    to.q_norm = from.q_norm;
    to.k_norm = from.k_norm;
    for (const auto [role, part] : kLayerMatrices) {
      (to.*part).id = (from.*part).id;
      (to.*part).bias = (from.*part).bias;
    }
  }

  std::vector<Linear*> quantized_matrices() {
    std::vector<Linear*> out;
    for (const auto [role, part] : kLayerMatrices) out.push_back(&(quantized_.weights.*part));
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
    const std::vector<int64_t> order = target_.hf_order(linear.id);
    linear.w = pack_matrix(encoding(EncodingId::F32), rows, cols, reinterpret_cast<const std::byte*>(weights.data()),
                           order.empty() ? nullptr : order.data(), pool_);
  }

  /// Rounded matrices run as they will in the model, on rounded activations; binary32 takes twice to four times as
  /// long.
  static void become(Linear& linear, Linear as_run) {
    linear.w = std::move(as_run.w);
    linear.columns = std::move(as_run.columns);
  }

  /// Runs `body(stream)` on both models' slices, then `gather` with both.
  template <typename Body, typename Gather>
  void for_slices(const Body& body, const Gather& gather) {
    const int64_t slice = quantized_.slice();
    for (int64_t begin = 0; begin < tokens_; begin += slice) {
      const int64_t count = std::min(slice, tokens_ - begin);
      for (LayerStream* stream : {&original_, &quantized_}) {
        if (stream == &original_ && !correct_) continue;
        stream->enter(begin, count);
        body(*stream, begin);
      }
      gather(begin, count);
    }
  }

  /// Adds what a slice brings; `inputs` are those of the matrices in either pass, `role` one of them.
  void add(LayerProblem& problem, Role role, std::vector<float> LayerPass::*inputs, int64_t begin, int64_t count) {
    const std::vector<float>& quantized = quantized_.pass.*inputs;
    problem.add_inputs(quantized.data(), count);
    if (problem.wants_original()) {
      problem.add_original(quantized.data(), as_folded(role, original_.pass.*inputs, problem.cols(), count), count);
    }
    if (!problem.wants_lacking()) return;
    const int64_t size = count * config_.hidden;
    lacking_.resize(static_cast<size_t>(size));
    states_.resize(lacking_.size());
    original_.states(begin, count, lacking_.data());
    quantized_.states(begin, count, states_.data());
    for (int64_t i = 0; i < size; ++i) lacking_[static_cast<size_t>(i)] -= states_[static_cast<size_t>(i)];
    problem.add_lacking(quantized.data(), lacking_.data(), count);
  }

  /// Inputs of the original model's matrices as they would be if it were folded like the quantized one.
  const float* as_folded(Role role, const std::vector<float>& original, int64_t cols, int64_t count) {
    const std::vector<float> factors = input_factors(folding_, config_, role);
    if (factors.empty()) return original.data();
    folded_.resize(static_cast<size_t>(count * cols));
    for (size_t i = 0; i < folded_.size(); ++i) folded_[i] = original[i] / factors[i % factors.size()];
    return folded_.data();
  }

  void attention_inputs(int layer) {
    LayerProblem problem(options_, config_.hidden, 0, pool_, clipped_group({Role::Q, layer}));
    for_slices([](LayerStream& stream, int64_t) { stream.pass.normalize(stream.weights.attention_norm); },
               [&](int64_t begin, int64_t count) { add(problem, Role::Q, &LayerPass::normed, begin, count); });
    round({{Role::Q, layer}, {Role::K, layer}, {Role::V, layer}}, problem);
  }

  static void forget(LayerStream& stream, std::initializer_list<Linear LayerWeights::*> parts) {
    for (const auto part : parts) (stream.weights.*part).w = {};
  }

  static void attend(LayerStream& stream, int64_t begin) {
    stream.pass.normalize(stream.weights.attention_norm);
    stream.pass.project_qkv(stream.weights, 0, nullptr);
    stream.pass.attend(0);
    stream.keep_attended(begin);
  }

  void attention_output(int layer) {
    LayerProblem problem(options_, quantized_.pass.q_dim, config_.hidden, pool_,
                         clipped_group({Role::AttentionOutput, layer}));
    for_slices(attend, [&](int64_t begin, int64_t count) {
      add(problem, Role::AttentionOutput, &LayerPass::attended, begin, count);
    });
    for (LayerStream* stream : {&original_, &quantized_}) {
      forget(*stream, {&LayerWeights::q, &LayerWeights::k, &LayerWeights::v});
    }
    round({{Role::AttentionOutput, layer}}, problem);
  }

  void ffn_inputs(int layer) {
    LayerProblem problem(options_, config_.hidden, 0, pool_, clipped_group({Role::Gate, layer}));
    for_slices(
        [](LayerStream& stream, int64_t begin) {
          stream.bring_attended(begin);
          stream.pass.project_attended(stream.weights, nullptr);
          stream.leave(begin);
          stream.pass.normalize(stream.weights.ffn_norm);
        },
        [&](int64_t begin, int64_t count) { add(problem, Role::Gate, &LayerPass::normed, begin, count); });
    for (LayerStream* stream : {&original_, &quantized_}) {
      stream->forget_attended();
      forget(*stream, {&LayerWeights::attention_output});
    }
    round({{Role::Gate, layer}, {Role::Up, layer}}, problem);
  }

  void down(int layer) {
    LayerProblem problem(options_, config_.ffn, config_.hidden, pool_, clipped_group({Role::Down, layer}));
    for_slices(
        [](LayerStream& stream, int64_t) {
          stream.pass.normalize(stream.weights.ffn_norm);
          stream.pass.activate(stream.weights, nullptr);
        },
        [&](int64_t begin, int64_t count) {
          add(problem, Role::Down, &LayerPass::gate, begin, count);
          quantized_.keep_activated(begin);
          if (!correct_) return;
          // The original's down projection is known: its layer ends here.
          original_.project_activated(begin);
        });
    forget(original_, {&LayerWeights::gate, &LayerWeights::up, &LayerWeights::down});
    if (quantized_.keeps_activated()) forget(quantized_, {&LayerWeights::gate, &LayerWeights::up});
    round({{Role::Down, layer}}, problem);
  }

  /// The quantized model's states behind the layer.
  void finish_layer() {
    for (int64_t begin = 0; begin < tokens_; begin += quantized_.slice()) {
      quantized_.finish_ffn(begin, std::min(quantized_.slice(), tokens_ - begin));
    }
  }

  /// The output matrix, from the final hidden states.
  void round_output() {
    const std::vector<float> norm = output_norm();
    const WeightId id = output_matrix(config_);
    LayerProblem problem(options_, config_.hidden, 0, pool_);
    for_slices([&](LayerStream& stream, int64_t) { stream.pass.normalize(norm); },
               [&](int64_t begin, int64_t count) { add(problem, id.role, &LayerPass::normed, begin, count); });
    close(problem, id);
    if (options_.gptq) problem.factor(target_.block(id));
    MatrixReport report = new_report(id, problem);
    Energy energy;
    const int64_t rows = target_.rows(id);
    for (int64_t first = 0; first < rows; first += kOutputRows) {
      keep(id, first, round_rows(id, first, std::min(kOutputRows, rows - first), problem, energy, report));
    }
    finish_report(report, energy);
  }

  std::vector<float> output_norm() const {
    const TensorInfo& info = source_.store->at(source_.name({Role::OutputNorm}));
    std::vector<float> out(static_cast<size_t>(info.elements()));
    read_rows(*source_.store, info, 0, info.rows(), out.data());
    return out;
  }

  /// Nearest codes of AWQ have their ranges chosen by the output.
  int64_t clipped_group(const WeightId& id) const {
    const bool clips = !options_.gptq && options_.transform.kind == Transform::Awq && target_.rounds(id);
    return clips ? target_.clipped_group(id) : 0;
  }

  /// The end of gathering. Where memory is short, the passes' is given back until they go on.
  void close(LayerProblem& problem, const WeightId& id) {
    if (spill_ != nullptr) {
      original_.rest();
      quantized_.rest();
      for (std::vector<float>* buffer : {&lacking_, &states_, &folded_}) std::vector<float>().swap(*buffer);
    }
    problem.close(fmt::format("{} in {}", gguf_name(id), source_.store->where()));
  }

  void round(const std::vector<WeightId>& ids, LayerProblem& problem) {
    close(problem, ids.front());
    if (ids.size() == 1) {
      problem.prepare(target_.rows(ids.front()), [&](int64_t first, int64_t count) {
        return folded_weights(ids.front(), first, count, problem.cols());
      });
    }
    if (options_.gptq) {
      int64_t block = 1;  // the widest: a narrower one divides it
      for (const WeightId& id : ids) block = std::max(block, target_.rounds(id) ? target_.block(id) : 1);
      problem.factor(block);
    }
    for (const WeightId& id : ids) round_matrix(id, problem);
  }

  void round_matrix(const WeightId& id, const LayerProblem& problem) {
    const int64_t rows = target_.rows(id);
    Linear& linear = quantized_matrix(id);
    if (target_.rounds(id)) {
      MatrixReport report = new_report(id, problem);
      Energy energy;
      std::vector<std::byte> stored = round_rows(id, 0, rows, problem, energy, report);
      become(linear, target_.as_run(id, stored));
      keep(id, 0, std::move(stored));
      finish_report(report, energy);
      return;
    }
    std::vector<float> weights = folded_weights(id, 0, rows, problem.cols());
    if (options_.transform.kind != Transform::None) keep(id, 0, target_.put(id, weights));
    fill(linear, weights);
  }

  std::vector<float> folded_weights(const WeightId& id, int64_t first, int64_t count, int64_t cols) {
    std::vector<float> out = target_.weights(id, first, count);
    fold(folding_, config_, id, cols, out);
    return out;
  }

  /// e H e^T summed over rows e of what was lost, and of the weights.
  struct Energy {
    double lost = 0, whole = 0;
  };

  MatrixReport new_report(const WeightId& id, const LayerProblem& problem) const {
    const bool unsolved = options_.gptq && problem.problem().spread.empty();
    return {target_.name(id), target_.encoding(id), 0, problem.damping(), unsolved, 0};
  }
  void finish_report(MatrixReport& report, const Energy& energy) {
    report.error = energy.whole > 0 ? energy.lost / energy.whole : 0;
    done_.reports.push_back(report);
  }

  /// Returns what was stored.
  std::vector<std::byte> round_rows(const WeightId& id, int64_t first, int64_t rows, const LayerProblem& problem,
                                    Energy& energy, MatrixReport& report) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> weights = folded_weights(id, first, rows, problem.cols()), lost = weights;
    energy.whole += problem.energy(lost, rows);
    problem.correct(first, rows, weights);
    Rounded rounded = target_.round(id, first, weights, rows, problem.problem());
    if (options_.gptq && !rounded.solved) report.fell_back = true;
    for (size_t i = 0; i < lost.size(); ++i) lost[i] -= weights[i];
    energy.lost += problem.energy(lost, rows);
    report.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return std::move(rounded.stored);
  }

  const ModelSource& source_;
  const ModelConfig& config_;
  const LayerwiseOptions options_;
  LayerwiseTarget& target_;
  ThreadPool& pool_;
  Journal* const journal_;
  const int64_t tokens_;
  const bool correct_;
  const std::unique_ptr<ScratchFile> spill_;
  LayerStream original_, quantized_;
  Folding folding_;
  std::vector<float> lacking_, states_, folded_;
  JournalStep done_;  // since the last finished step
  std::vector<MatrixReport> reports_;
};

}  // namespace

std::vector<MatrixReport> round_layerwise(const ModelSource& source, std::span<const int32_t> tokens, int64_t length,
                                          const LayerwiseOptions& options, LayerwiseTarget& target, ThreadPool& pool,
                                          Journal* journal) {
  return Layerwise(source, tokens, length, options, target, pool, journal).run();
}

}  // namespace lowbit
