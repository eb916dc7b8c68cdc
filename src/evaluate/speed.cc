#include "evaluate/speed.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>

#include "kernel/kernels.h"
#include "model/layout.h"
#include "model/transformer_weights.h"

namespace lowbit {
namespace {

/// Token ids spread over the vocabulary: speed must not depend on one lucky embedding row.
std::vector<int32_t> spread_ids(const ModelConfig& config, int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((i * 7919 + 13) % static_cast<size_t>(config.vocab));
  return ids;
}

/// Tokens that a context is really made of; a longer one repeats their keys and values. Speed does not depend on what
/// they are, and making 32768 of them takes longer than any test.
constexpr int64_t kRealDepth = 512;
static_assert(kRealDepth % kKeyBlock == 0);

/// The sequences of a test.
class Run {
 public:
  Run(Transformer& model, const SpeedTest& test)
      : model_(model),
        test_(test),
        ids_(spread_ids(model.config(), std::max({test.depth, test.prompt, test.sequences}))),
        logits_(static_cast<size_t>(test.sequences * model.config().vocab)) {
    for (int64_t s = 0; s < test.sequences; ++s) {
      caches_.emplace_back(model.config(), test.depth + test.prompt + test.generate, test.cache);
    }
    if (test.depth == 0) return;
    const int64_t real = std::min(test.depth, kRealDepth);
    for (KvCache& cache : caches_) {
      const Segment all{std::span(ids_).first(static_cast<size_t>(real)), &cache, real};
      model.forward({&all, 1});
      if (real < test.depth) cache.repeat(test.depth, model.pool());
    }
  }

  /// One pass: `count` tokens of each sequence, logits of the last ones.
  void pass(int64_t count) {
    std::vector<Segment> segments;
    for (size_t s = 0; s < caches_.size(); ++s) {
      const size_t first = count == 1 ? s : 0;
      segments.push_back({std::span(ids_).subspan(first, static_cast<size_t>(count)), &caches_[s], count - 1});
    }
    const std::vector<float> hidden = model_.forward(segments);
    model_.logits(hidden.data(), test_.sequences, logits_.data());
  }

  void warm_up() {
    if (test_.prompt > 0) pass(test_.prompt);
    if (test_.generate > 0) pass(1);
    rewind();
  }

  double seconds() {
    const auto start = std::chrono::steady_clock::now();
    if (test_.prompt > 0) pass(test_.prompt);
    for (int64_t i = 0; i < test_.generate; ++i) pass(1);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    rewind();
    return taken.count();
  }

 private:
  void rewind() {
    for (KvCache& cache : caches_) cache.truncate(test_.depth);
  }

  Transformer& model_;
  const SpeedTest test_;
  const std::vector<int32_t> ids_;
  std::vector<float> logits_;
  std::vector<KvCache> caches_;
};

/// `fast`: products are those of Kernels::fastest().
void add(PassWork& work, const ModelSource& source, const WeightId& id, int64_t tokens, bool fast) {
  const TensorInfo& info = source.store->at(source.name(id));
  const Family family = family_of(*info.encoding).value();  // as the model was loaded
  const bool bf16 = fast && kernels().fastest(family) == ActivationForm::Bf16;
  double& operations = bf16                      ? work.bf16_operations
                       : traits(family).is_float ? work.float_operations
                                                 : work.code_operations;
  operations += 2.0 * static_cast<double>(info.elements() * tokens);
}

/// A pass of `count` tokens of each sequence after `before` others, whose last tokens' logits are wanted.
PassWork work_of(const Transformer& model, const ModelSource& source, const SpeedTest& test, int64_t before,
                 int64_t count) {
  const ModelConfig& c = model.config();
  const int64_t tokens = test.sequences * count, outputs = test.sequences;
  const auto attended = [&](int64_t position) {
    return c.sliding_window > 0 ? std::min(position + 1, c.sliding_window) : position + 1;
  };
  const int64_t positions = std::min(before + count, attended(before + count - 1) + count - 1);
  const bool fast = model.rounding() == ActivationRounding::Fast;
  PassWork work;
  work.bytes = static_cast<double>(model.weight_bytes());
  for (int layer = 0; layer < c.layers; ++layer) {
    const bool last = layer + 1 == c.layers;  // what follows attention is only computed for the outputs then
    for (const LayerMatrix& m : kLayerMatrices) {
      const bool projects = m.role == Role::Q || m.role == Role::K || m.role == Role::V;
      add(work, source, {m.role, layer}, projects || !last ? tokens : outputs, fast);
    }
    int64_t pairs = 0;
    for (int64_t i = last ? count - 1 : 0; i < count; ++i) pairs += attended(before + i);
    work.float_operations += 4.0 * static_cast<double>(test.sequences * pairs * c.heads * c.head_dim);
    work.bytes += static_cast<double>(test.sequences * positions * c.kv_heads * kv_bytes(test.cache, c.head_dim));
  }
  add(work, source, output_matrix(c), outputs, fast);
  return work;
}

}  // namespace

std::string SpeedTest::name() const {
  std::string name = prompt > 0 ? fmt::format("pp{}", prompt) : "";
  if (generate > 0) name += fmt::format("{}tg{}", prompt > 0 ? "+" : "", generate);
  if (sequences > 1) name += fmt::format(" x{}", sequences);
  if (depth > 0) name += fmt::format(" @ d{}", depth);
  return name;
}

double SpeedResult::tokens_per_second() const {
  double total = 0;
  for (const double s : seconds) total += static_cast<double>(test.tokens()) / s;
  return total / static_cast<double>(seconds.size());
}

double SpeedResult::deviation() const {
  if (seconds.size() < 2) return 0;
  const double mean = tokens_per_second();
  double squares = 0;
  for (const double s : seconds) squares += std::pow(static_cast<double>(test.tokens()) / s - mean, 2);
  return std::sqrt(squares / static_cast<double>(seconds.size() - 1));
}

double SpeedResult::fraction_of_limit(const MachineLimits& limits) const {
  double least = 0;
  for (const PassWork& p : passes) least += std::max(p.seconds_reading(limits), p.seconds_computing(limits));
  return least * tokens_per_second() / static_cast<double>(test.tokens());
}

bool SpeedResult::bound_by_memory(const MachineLimits& limits) const {
  double reading = 0, computing = 0;
  for (const PassWork& p : passes) {
    const double r = p.seconds_reading(limits), c = p.seconds_computing(limits);
    (r > c ? reading : computing) += std::max(r, c);
  }
  return reading > computing;
}

SpeedResult measure_speed(Transformer& model, const ModelSource& source, const SpeedTest& test, int repetitions,
                          MachineLimits& limits) {
  SpeedResult result{test, {}, {}};
  if (test.prompt > 0) result.passes.push_back(work_of(model, source, test, test.depth, test.prompt));
  for (int64_t i = 0; i < test.generate; ++i) {
    result.passes.push_back(work_of(model, source, test, test.depth + test.prompt + i, 1));
  }
  Run run(model, test);
  run.warm_up();
  limits.measure();
  for (int i = 0; i < repetitions; ++i) result.seconds.push_back(run.seconds());
  limits.measure();
  return result;
}

}  // namespace lowbit
