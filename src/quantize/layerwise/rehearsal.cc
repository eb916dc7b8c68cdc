#include "quantize/layerwise/rehearsal.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "quantize/calibration/random_tokens.h"
#include "quantize/encode.h"
#include "quantize/pipeline.h"
#include "quantize/quantize_groups.h"

namespace lowbit {
namespace {

constexpr int64_t kTaskWeights = int64_t{1} << 17;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Time for `elements` weights like those of `tensor`, of which a piece for each thread is worked on.
template <typename Work>
double time_of(const OutputTensor& tensor, int64_t elements, ThreadPool& pool, const Work& work) {
  const int64_t step = std::min(tensor.rows(), std::max<int64_t>(1, kTaskWeights / tensor.cols()));
  const int64_t tasks = std::min<int64_t>(pool.size(), tensor.rows() / step);
  const auto start = Clock::now();
  pool.run(tasks, [&](int64_t i, int) { work(i * step, step); });
  return seconds_since(start) * static_cast<double>(elements) / static_cast<double>(tasks * step * tensor.cols());
}

/// For the random tokens' way through the layers.
double time_random_tokens(const ModelSource& source, ThreadPool& pool) {
  const auto start = Clock::now();
  RandomTokens(source, pool).importance({Role::Q, 0});
  return seconds_since(start) * static_cast<double>(source.config.layers);
}

}  // namespace

double rehearse(const Plan& plan, const ModelSource& source, ThreadPool& pool) {
  std::map<const Encoding*, std::pair<const PlannedTensor*, int64_t>> kinds;
  for (const PlannedTensor& t : plan.tensors) {
    if (t.layerwise) continue;
    auto& [example, elements] = kinds[t.encoding];
    if (example == nullptr || t.tensor.elements() > example->tensor.elements()) example = &t;
    elements += t.tensor.elements();
  }
  double seconds = wants_random_tokens(plan) ? time_random_tokens(source, pool) : 0;
  for (const auto& [encoding, kind] : kinds) {
    const OutputTensor& tensor = kind.first->tensor;
    const int64_t cols = tensor.cols();
    seconds += time_of(tensor, kind.second, pool, [&, type = encoding](int64_t first, int64_t rows) {
      std::vector<float> values(static_cast<size_t>(rows * cols));
      std::vector<std::byte> bytes(type->bytes(values.size()));
      read_output_rows(*source.store, tensor, first, rows, values.data());
      if (type->kind == EncodingKind::Block) {
        encode_rows(*type, Search::Weighted, values.data(), rows, cols, nullptr, bytes.data());
      } else {
        encode_float(*type, values.data(), rows * cols, bytes.data());
      }
    });
  }
  return seconds;
}

double rehearse(const DirectoryPlan& plan, const GroupScheme& scheme, const ModelSource& source, ThreadPool& pool) {
  const DirectoryTensor* largest = nullptr;
  int64_t elements = 0;
  for (const DirectoryTensor& t : plan.tensors) {
    if (!t.quantized) continue;
    if (largest == nullptr || t.tensor.elements() > largest->tensor.elements()) largest = &t;
    elements += t.tensor.elements();
  }
  const auto rows =
      std::min<int64_t>(largest->rows(), std::max<int64_t>(1, pool.size() * kTaskWeights / largest->cols()));
  const auto start = Clock::now();
  const std::vector<float> weights = read_weights(source, largest->tensor, 0, rows, pool);
  quantize_groups(scheme.format, scheme.search, weights.data(), rows, largest->cols(), nullptr, pool);
  const double whole = seconds_since(start) * static_cast<double>(elements) / static_cast<double>(weights.size());
  return whole + (weighs_random_tokens(scheme) ? time_random_tokens(source, pool) : 0);
}

double rehearse_layerwise(const ModelSource& source, std::span<const int32_t> tokens, int64_t length,
                          LayerwiseOptions options, LayerwiseTarget& target, ThreadPool& pool) {
  options.rehearsal = true;
  const auto start = Clock::now();
  double rounding = 0;
  for (const MatrixReport& r : round_layerwise(source, tokens, length, options, target, pool)) rounding += r.seconds;
  const double layer = seconds_since(start);
  const ModelConfig& c = source.config;
  const int64_t weights = (2 * c.heads + 2 * c.kv_heads) * c.head_dim * c.hidden + 3 * c.hidden * c.ffn;
  const bool output = target.rounds(output_matrix(c));
  const double share = output ? static_cast<double>(c.vocab * c.hidden) / static_cast<double>(weights) : 0;
  return layer * static_cast<double>(c.layers) + rounding * share;
}

}  // namespace lowbit
