#include "quantize/calibration/calibrate.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/progress.h"
#include "model/chunks.h"

namespace lowbit {
namespace {

/// Channels a task sums, one token after another.
constexpr int64_t kChannels = 64;

ImportanceMatrix sums_over(Transformer& model, std::span<const int32_t> tokens, int64_t chunk,
                           const std::string& dataset) {
  ChunkRunner runner(model, chunk);
  SquareSums tap(model.pool());
  Progress progress("calibrating", tokens.size());
  const size_t step = static_cast<size_t>(runner.batch() * chunk);
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    const size_t n = std::min(step, tokens.size() - begin);
    runner.run(tokens.subspan(begin, n), chunk, 0, &tap);
    progress.add(n);
  }
  ImportanceMatrix out = tap.result();
  out.datasets = {dataset};
  out.chunk_count = static_cast<uint32_t>(static_cast<int64_t>(tokens.size()) / chunk);
  out.chunk_size = static_cast<uint32_t>(chunk);
  return out;
}

}  // namespace

void add_squares(const float* x, int64_t tokens, int64_t cols, double* sums, ThreadPool& pool) {
  pool.run((cols + kChannels - 1) / kChannels, [&](int64_t task, int) {
    const int64_t begin = task * kChannels, end = std::min(cols, begin + kChannels);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t c = begin; c < end; ++c) {
        const double value = static_cast<double>(x[t * cols + c]);
        sums[c] += value * value;
      }
    }
  });
}

void SquareSums::input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) {
  Entry& entry = entries_[gguf_name(weight)];
  entry.sums.resize(static_cast<size_t>(cols));
  entry.tokens += tokens;
  add_squares(x, tokens, cols, entry.sums.data(), pool_);
}

std::vector<float> SquareSums::means(const WeightId& weight) const {
  const Entry& entry = entries_.at(gguf_name(weight));
  std::vector<float> out;
  for (const double sum : entry.sums) out.push_back(static_cast<float>(sum / static_cast<double>(entry.tokens)));
  return out;
}

ImportanceMatrix SquareSums::result() const {
  ImportanceMatrix out;
  for (const auto& [name, entry] : entries_) {
    ImportanceEntry& e = out.entries[name];
    for (const double sum : entry.sums) {
      e.sums.push_back(static_cast<float>(sum));
      if (!std::isfinite(e.sums.back())) fail("the inputs of {} are not finite: the model's weights are damaged", name);
    }
    e.counts = {static_cast<float>(entry.tokens)};
  }
  return out;
}

ImportanceMatrix calibrate(Transformer& model, const Tokenizer& tokenizer, std::string_view text,
                           const std::string& dataset, const CalibrateOptions& options) {
  const ChunkOptions cut{options.chunk, options.chunks, options.parse_special, true, dataset};
  return sums_over(model, chunk_tokens(model.config(), tokenizer, text, cut), options.chunk, dataset);
}

ImportanceMatrix calibrate(Transformer& model, const CalibrationTokens& samples) {
  return sums_over(model, samples.ids, samples.length, samples.description);
}

}  // namespace lowbit
