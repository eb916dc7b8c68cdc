#include "evaluate/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/progress.h"
#include "evaluate/divergence.h"
#include "evaluate/gptq_shares.h"
#include "evaluate/sensitivity_layers.h"
#include "model/layer_pass.h"
#include "quantize/calibration/calibrate.h"
#include "quantize/layerwise/layer_stream.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

constexpr int64_t kProbeSamples = 6;   // one or two of each part of the built-in mix
constexpr int64_t kInputSamples = 32;  // for the channels' second moments
constexpr int64_t kLength = kSensitivityLength;
constexpr int64_t kLogitRows = 64;
constexpr int64_t kErrorRows = 256;  // of a matrix, evenly spread, on which relative errors are measured
constexpr int64_t kShareRows = 64;   // the same, on which it is measured what GPTQ leaves of them

/// The encoding of a matrix that is changed alone: coarse enough to show, fine enough to stay in the quadratic range.
const Encoding& probe_encoding(int64_t cols) {
  if (cols % 256 == 0) return encoding(EncodingId::Q3_K);
  if (cols % 32 == 0) return encoding(EncodingId::Q4_0);
  return encoding(EncodingId::F16);
}

std::vector<int32_t> samples(const ModelConfig& model, const Tokenizer& tokenizer, CalibrationOptions text,
                             int64_t count) {
  text.length = kLength;
  text.samples = count;
  return calibration_tokens(model, tokenizer, text).ids;
}

/// Several that listen to the same pass.
class Listeners : public Tap {
 public:
  explicit Listeners(std::vector<Tap*> taps) : taps_(std::move(taps)) {}
  void input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) override {
    for (Tap* tap : taps_) tap->input(weight, x, tokens, cols);
  }

 private:
  std::vector<Tap*> taps_;
};

/// A model with one changed matrix, on its way through the layers.
struct Probe {
  size_t matrix;
  std::vector<float> x;  ///< [tokens, hidden]
  double error = 0;      ///< relative error of the changed matrix
  bool output = false;   ///< the changed matrix makes the logits
  double divergence = 0;
};

class Meter {
 public:
  Meter(const SensitivityRequest& request, ThreadPool& pool)
      : request_(request),
        source_(request.source),
        config_(source_.config),
        pool_(pool),
        pass_(one_layer(config_), pool, ActivationRounding::Fine) {
    for (int64_t i = 0; i < kSliceTokens / kLength; ++i) caches_.emplace_back(pass_.config, kLength);
    for (size_t i = 0; i < request.plan.tensors.size(); ++i) {
      const PlannedTensor& tensor = request.plan.tensors[i];
      if (!is_matrix(tensor.tensor.id)) continue;
      index_[tensor.tensor.name] = planned_.size();
      planned_.push_back(&tensor);
      MatrixSensitivity& matrix = out_.matrices.emplace_back();
      matrix.tensor = tensor.tensor.name;
      for (const Encoding* e : candidates_for(request.candidates, tensor.tensor.cols()))
        matrix.errors.emplace_back(e, 0);
    }
  }

  Sensitivity run() {
    out_.measured_on = sensitivity_key(request_);
    tokens_ = static_cast<int64_t>(request_.text.probes.size());

    const MeasuredLayers layers(config_, tokens_);
    Progress progress("measuring sensitivity", layers.work());
    base_ = embed(request_.text.probes);
    inputs_ = embed(request_.text.inputs);
    start_embedding_probe(request_.text.probes);
    for (int l = 0; l < static_cast<int>(config_.layers); ++l) {
      layer(l, layers.measured(l));
      progress.add(probes_.size(), fmt::format("layer {}", l));
    }
    finish();
    interpolate(layers);
    apply_shares();
    return std::move(out_);
  }

 private:
  std::vector<float> embed(std::span<const int32_t> ids) const {
    const TensorInfo& table = source_.store->at(source_.name({Role::TokenEmbedding}));
    std::vector<float> x(ids.size() * static_cast<size_t>(config_.hidden));
    for (size_t t = 0; t < ids.size(); ++t) {
      read_rows(*source_.store, table, ids[t], 1, x.data() + static_cast<int64_t>(t) * config_.hidden);
    }
    return x;
  }

  /// Sends hidden states through a layer.
  void forward(const LayerWeights& weights, std::vector<float>& x, Tap* tap) {
    const int64_t hidden = config_.hidden, tokens = static_cast<int64_t>(x.size()) / hidden;
    for (int64_t begin = 0; begin < tokens; begin += kSliceTokens) {
      const int64_t count = std::min(kSliceTokens, tokens - begin);
      pass_.start(caches_, kLength, count);
      std::copy_n(x.begin() + begin * hidden, count * hidden, pass_.x.begin());
      pass_.attention_block(weights, 0, false, tap);
      pass_.ffn_block(weights, tap);
      std::copy_n(pass_.x.begin(), count * hidden, x.begin() + begin * hidden);
    }
  }

  void layer(int l, bool measured) {
    uint64_t bytes = 0;
    LayerWeights weights = load_layer(source_, l, pool_, bytes);
    SquareSums sums(pool_);
    const bool shares = request_.gptq && l == static_cast<int>(config_.layers) / 2;
    Listeners listeners(shares ? std::vector<Tap*>{&sums, &shares_} : std::vector<Tap*>{&sums});
    forward(weights, inputs_, &listeners);
    for (Probe& probe : probes_) forward(weights, probe.x, nullptr);
    for (const auto [role, member] : kLayerMatrices) {
      const WeightId id{role, l};
      const size_t matrix = index_.at(gguf_name(id));
      const std::vector<float> squares = sums.means(id);
      measure_errors(matrix, squares);
      if (shares) measure_shares(matrix, id);
      if (!measured) continue;
      Probe probe;
      probe.matrix = matrix;
      probe.error = relative_error(matrix, probe_encoding(planned_[matrix]->tensor.cols()), squares);
      probe.x = base_;
      Linear changed = quantized(matrix, squares);
      std::swap((weights.*member).w, changed.w);
      forward(weights, probe.x, nullptr);
      std::swap((weights.*member).w, changed.w);
      probes_.push_back(std::move(probe));
    }
    forward(weights, base_, nullptr);
  }

  /// What the search of scales is given: rounding by calibration inputs takes their second moments.
  const float* importance(size_t matrix, const std::vector<float>& squares) const {
    const PlannedTensor& planned = *planned_[matrix];
    if (!planned.importance.empty()) return planned.importance.data();
    return planned.layerwise ? squares.data() : nullptr;
  }

  void round(const Encoding& to, float* rows, int64_t count, int64_t cols, const float* weights_of_channels) const {
    std::vector<std::byte> bytes(to.bytes(static_cast<uint64_t>(count * cols)));
    if (to.kind == EncodingKind::Float) {
      encode_float(to, rows, count * cols, bytes.data());
    } else {
      encode_rows(to, Search::Weighted, rows, count, cols, weights_of_channels, bytes.data());
    }
    decode(to, bytes.data(), count * cols, rows);
  }

  double relative_error(size_t matrix, const Encoding& to, const std::vector<float>& squares) const {
    const OutputTensor& tensor = planned_[matrix]->tensor;
    const int64_t rows = tensor.rows(), cols = tensor.cols(), count = std::min(rows, kErrorRows);
    std::vector<double> error(static_cast<size_t>(count)), whole(static_cast<size_t>(count));
    pool_.run(count, [&](int64_t i, int) {
      std::vector<float> row(static_cast<size_t>(cols));
      read_output_rows(*source_.store, tensor, i * rows / count, 1, row.data());
      std::vector<float> rounded = row;
      round(to, rounded.data(), 1, cols, importance(matrix, squares));
      for (int64_t c = 0; c < cols; ++c) {
        const auto at = static_cast<size_t>(c);
        const double w = static_cast<double>(row[at]), d = static_cast<double>(rounded[at]) - w;
        const double m = squares.empty() ? 1 : static_cast<double>(squares[at]);
        error[static_cast<size_t>(i)] += m * d * d;
        whole[static_cast<size_t>(i)] += m * w * w;
      }
    });
    double errors = 0, sum = 0;
    for (size_t i = 0; i < error.size(); ++i) {
      errors += error[i];
      sum += whole[i];
    }
    return sum > 0 ? errors / sum : 0;
  }

  void measure_shares(size_t matrix, const WeightId& id) {
    const OutputTensor& tensor = planned_[matrix]->tensor;
    const int64_t rows = tensor.rows(), cols = tensor.cols(), count = std::min(rows, kShareRows);
    std::vector<float> some(static_cast<size_t>(count * cols));
    for (int64_t i = 0; i < count; ++i) {
      read_output_rows(*source_.store, tensor, i * rows / count, 1, some.data() + i * cols);
    }
    shares_.measure(id, some, candidates_for(request_.candidates, cols));
  }

  /// What GPTQ will round has its share of the errors left.
  void apply_shares() {
    for (size_t i = 0; i < planned_.size(); ++i) {
      if (!request_.gptq || !planned_[i]->layerwise) continue;
      for (auto& [to, error] : out_.matrices[i].errors) error *= shares_.share(*to);
    }
  }

  void measure_errors(size_t matrix, const std::vector<float>& squares) {
    for (auto& [to, error] : out_.matrices[matrix].errors) error = relative_error(matrix, *to, squares);
  }

  /// The matrix as it is after a round trip through its probe encoding, in Hugging Face's order of rows.
  Linear quantized(size_t matrix, const std::vector<float>& squares) {
    const OutputTensor& tensor = planned_[matrix]->tensor;
    const Encoding& to = probe_encoding(tensor.cols());
    const int64_t rows = tensor.rows(), cols = tensor.cols(), step = 16;
    const Encoding& half = encoding(EncodingId::F16);  // as exact as the weights of most models, at half the memory
    std::vector<std::byte> bytes(half.bytes(static_cast<uint64_t>(rows * cols)));
    pool_.run((rows + step - 1) / step, [&](int64_t task, int) {
      const int64_t first = task * step, count = std::min(step, rows - first);
      std::vector<float> values(static_cast<size_t>(count * cols));
      read_output_rows(*source_.store, tensor, first, count, values.data());
      round(to, values.data(), count, cols, importance(matrix, squares));
      encode_float(half, values.data(), count * cols, bytes.data() + first * cols * 2);
    });
    const std::vector<int64_t> order = rotary_order(config_, tensor.id.role, false);
    Linear out;
    out.w = pack_matrix(half, rows, cols, bytes.data(), order.empty() ? nullptr : order.data(), pool_);
    return out;
  }

  void start_embedding_probe(std::span<const int32_t> ids) {
    Probe probe;
    probe.matrix = index_.at(gguf_name({Role::TokenEmbedding}));
    probe.output = config_.tied_embeddings;
    probe.x = base_;
    const Encoding& to = probe_encoding(config_.hidden);
    pool_.run(static_cast<int64_t>(ids.size()), [&](int64_t t, int) {
      round(to, probe.x.data() + t * config_.hidden, 1, config_.hidden, importance(probe.matrix, {}));
    });
    probes_.push_back(std::move(probe));
  }

  /// Of x[tokens, hidden], the normed hidden states of the scored tokens, in its memory: [scored, hidden].
  std::vector<float> scored(std::vector<float> x, const std::vector<float>& norm) const {
    std::vector<float> row(static_cast<size_t>(config_.hidden));
    float* to = x.data();
    for (int64_t t = 0; t < tokens_; ++t) {
      if (t % kLength < kLength / 2) continue;
      pass_.kernels.rms_norm(x.data() + t * config_.hidden, norm.data(), config_.hidden, pass_.eps, row.data());
      to = std::copy(row.begin(), row.end(), to);
    }
    x.resize(static_cast<size_t>(to - x.data()));
    x.shrink_to_fit();
    return x;
  }

  void finish() {
    std::vector<float> norm;
    Linear output;
    uint64_t bytes = 0;
    std::vector<float>().swap(inputs_);
    load_output(source_, pool_, norm, output, bytes);
    const std::vector<float> base = scored(base_, norm);
    const size_t head = index_.at(gguf_name(output_matrix(config_)));
    const std::vector<float> squares = mean_squares(base);
    measure_errors(head, squares);
    if (!config_.tied_embeddings) {
      measure_errors(probes_.front().matrix, {});
      probes_.front().error = relative_error(probes_.front().matrix, probe_encoding(config_.hidden), {});
      Probe probe;
      probe.matrix = head;
      probe.output = true;
      probe.x = base_;
      probes_.push_back(std::move(probe));
    }
    const double head_error = relative_error(head, probe_encoding(config_.hidden), squares);
    for (Probe& probe : probes_) {
      if (probe.output) probe.error = head_error;
      probe.x = scored(std::move(probe.x), norm);
    }
    compare(base, output, quantized(head, squares));
  }

  std::vector<float> mean_squares(const std::vector<float>& x) const {
    SquareSums sums(pool_);
    const WeightId head = output_matrix(config_);
    sums.input(head, x.data(), static_cast<int64_t>(x.size()) / config_.hidden, config_.hidden);
    return sums.means(head);
  }

  /// Divergence of each probe's answers from the base's, a few rows of logits at a time. All from scored() states.
  void compare(const std::vector<float>& base, const Linear& output, const Linear& changed) {
    const int64_t hidden = config_.hidden, vocab = config_.vocab, rows = static_cast<int64_t>(base.size()) / hidden;
    std::vector<float> reference(static_cast<size_t>(kLogitRows * vocab)), logits(reference.size());
    std::vector<double> reference_sums(kLogitRows), klds(kLogitRows);
    Progress progress("comparing answers", static_cast<uint64_t>(rows) * probes_.size());
    for (int64_t begin = 0; begin < rows; begin += kLogitRows) {
      const int64_t n = std::min(kLogitRows, rows - begin);
      const auto row = [&](const std::vector<float>& of, int64_t i) {
        return std::span(of).subspan(static_cast<size_t>(i * vocab), static_cast<size_t>(vocab));
      };
      pass_.multiply({{&output, reference.data()}}, base.data() + begin * hidden, n, nullptr);
      pool_.run(n, [&](int64_t i, int) {
        reference_sums[static_cast<size_t>(i)] = pass_.kernels.log_sum_exp(row(reference, i).data(), vocab);
      });
      for (size_t p = 0; p < probes_.size(); ++p) {
        const Linear& last = probes_[p].output ? changed : output;
        pass_.multiply({{&last, logits.data()}}, probes_[p].x.data() + begin * hidden, n, nullptr);
        pool_.run(n, [&](int64_t i, int) {
          const double sum = pass_.kernels.log_sum_exp(row(logits, i).data(), vocab);
          klds[static_cast<size_t>(i)] =
              kl_divergence(row(reference, i), reference_sums[static_cast<size_t>(i)], row(logits, i), sum);
        });
        for (int64_t i = 0; i < n; ++i) probes_[p].divergence += klds[static_cast<size_t>(i)];
        progress.add(static_cast<uint64_t>(n));
      }
    }
    for (const Probe& probe : probes_) {
      const double kld = probe.divergence / static_cast<double>(rows);
      if (!std::isfinite(kld)) {
        fail("{}: the model's answers are not finite on the calibration text: its weights are damaged",
             source_.store->where());
      }
      // An exactly representable matrix (all zeros, say) has neither error nor effect.
      out_.matrices[probe.matrix].gain = probe.error > 0 ? std::max(0.0, kld) / probe.error : 0;
    }
  }

  /// Gains of layers that were not measured: geometric means of the nearest ones that were, by role.
  void interpolate(const MeasuredLayers& layers) {
    for (int l = 0; l < static_cast<int>(config_.layers); ++l) {
      if (layers.measured(l)) continue;
      const auto [below, above] = layers.neighbours(l);
      const double share = static_cast<double>(l - below) / (above - below);
      for (const auto [role, member] : kLayerMatrices) {
        const auto gain = [&](int of) -> double& { return out_.matrices[index_.at(gguf_name({role, of}))].gain; };
        constexpr double kLeast = 1e-30;
        gain(l) = std::exp((1 - share) * std::log(std::max(gain(below), kLeast)) +
                           share * std::log(std::max(gain(above), kLeast)));
      }
    }
  }

  const SensitivityRequest& request_;
  const ModelSource& source_;
  const ModelConfig& config_;
  ThreadPool& pool_;
  LayerPass pass_;
  std::vector<KvCache> caches_;
  std::map<std::string, size_t> index_;  // of matrices, by GGUF name
  std::vector<const PlannedTensor*> planned_;
  int64_t tokens_ = 0;  // of the probes
  std::vector<float> base_, inputs_;
  std::vector<Probe> probes_;
  GptqShares shares_{pool_};
  Sensitivity out_;
};

}  // namespace

double MatrixSensitivity::error(const Encoding& encoding) const {
  for (const auto& [measured, value] : errors) {
    if (measured == &encoding) return value;
  }
  fail("the sensitivity of {} to {} was not measured", tensor, encoding.name);
}

std::vector<const Encoding*> default_candidates() {
  using enum EncodingId;
  std::vector<const Encoding*> out;
  for (const EncodingId id : {Q2_K, Q3_K, IQ4_XS, Q4_K, Q5_K, Q6_K, Q4_0, IQ4_NL, Q4_1, Q5_0, Q5_1, Q8_0, F16}) {
    out.push_back(&encoding(id));
  }
  return out;
}

SensitivityText sensitivity_text(const ModelConfig& model, const Tokenizer& tokenizer,
                                 const CalibrationOptions& calibration) {
  return {samples(model, tokenizer, calibration, kProbeSamples), samples(model, tokenizer, calibration, kInputSamples)};
}

uint64_t sensitivity_memory(const SensitivityRequest& request, int threads) {
  constexpr uint64_t kFloat = sizeof(float), kHalf = 2;
  const ModelConfig& c = request.source.config;
  const auto u = [](int64_t x) { return static_cast<uint64_t>(x); };
  const uint64_t tokens = request.text.probes.size(), row = u(c.hidden) * kFloat;
  const uint64_t probes = u(MeasuredLayers(c, static_cast<int64_t>(tokens)).count() * std::ssize(kLayerMatrices) + 2);
  uint64_t layer = 0, largest = 0, output = 0;  // weights: of all matrices as the source has them, of one
  for (int l = 0; l < static_cast<int>(c.layers); ++l) {
    uint64_t sum = 0;
    for (const auto [role, member] : kLayerMatrices) {
      const TensorInfo* info = request.source.find({role, l});
      if (info == nullptr) continue;
      sum += info->bytes;
      largest = std::max(largest, u(info->elements()));
    }
    layer = std::max(layer, sum);
  }
  if (const TensorInfo* info = request.source.find(output_matrix(c))) output = info->bytes;
  const uint64_t q = u(c.heads * c.head_dim), kv = u(c.kv_heads * c.head_dim), ffn = u(c.ffn), h = u(c.hidden);
  const uint64_t slice = u(kSliceTokens) * (3 * h + 2 * q + 3 * kv + 2 * ffn + std::max({h, q, ffn})) * kFloat;
  const uint64_t rows = u(threads) * 4 * std::max(h, ffn) * sizeof(double);
  const uint64_t states = (probes + 2) * tokens * row;  // of the changed models, the original, and one on its way
  const uint64_t logits = 2 * u(kLogitRows * c.vocab) * kFloat;
  // A changed matrix is there twice in 16 bits while it is packed.
  const auto inputs = std::ssize(request.text.inputs);
  const uint64_t shares = request.gptq ? GptqShares::memory(c, inputs) : 0;
  const uint64_t layers = states + u(inputs) * row + slice + layer + 2 * kHalf * largest + rows + shares;
  const uint64_t answers = states / 2 + 2 * tokens * row + slice + output + 2 * kHalf * u(c.vocab) * h + logits;
  return std::max({layers, answers, states + slice + output});
}

Sensitivity measure_sensitivity(const SensitivityRequest& request, ThreadPool& pool) {
  return Meter(request, pool).run();
}

}  // namespace lowbit
