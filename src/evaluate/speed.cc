#include "evaluate/speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

namespace lowbit {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Token ids spread over the vocabulary: speed must not depend on one lucky embedding row.
std::vector<int32_t> spread_ids(const ModelConfig& config, int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((i * 7919 + 13) % static_cast<size_t>(config.vocab));
  return ids;
}

void step(Transformer& model, KvCache& cache, std::span<const int32_t> ids, std::vector<float>& logits) {
  const Segment segment{ids, &cache, static_cast<int64_t>(ids.size()) - 1};
  const std::vector<float> hidden = model.forward({&segment, 1});
  model.logits(hidden.data(), 1, logits.data());
}

}  // namespace

double prompt_speed(Transformer& model, int64_t tokens) {
  const std::vector<int32_t> ids = spread_ids(model.config(), tokens);
  std::vector<float> logits(static_cast<size_t>(model.config().vocab));
  KvCache cache(model.config(), tokens);
  step(model, cache, ids, logits);
  cache.truncate(0);
  const auto start = std::chrono::steady_clock::now();
  step(model, cache, ids, logits);
  return static_cast<double>(tokens) / seconds_since(start);
}

double generation_speed(Transformer& model, int64_t tokens) {
  const std::vector<int32_t> ids = spread_ids(model.config(), tokens + 1);
  std::vector<float> logits(static_cast<size_t>(model.config().vocab));
  KvCache cache(model.config(), tokens + 1);
  step(model, cache, std::span(ids).first(1), logits);
  cache.truncate(0);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < tokens; ++i) step(model, cache, std::span(ids).subspan(static_cast<size_t>(i), 1), logits);
  return static_cast<double>(tokens) / seconds_since(start);
}

double stream_read_bandwidth(ThreadPool& pool) {
  constexpr size_t kWords = size_t{64} << 20;  // 512 MiB: far beyond any cache
  constexpr int64_t kPieces = 256;
  std::vector<uint64_t> memory(kWords, 1);
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(kPieces, [&](int64_t piece, int) {
      const uint64_t* words = memory.data() + static_cast<size_t>(piece) * (kWords / kPieces);
      uint64_t sums[16] = {};
      for (size_t i = 0; i < kWords / kPieces; i += 16) {
        for (size_t lane = 0; lane < 16; ++lane) sums[lane] += words[i + lane];
      }
      for (const uint64_t sum : sums) sink += sum;
    });
    best = std::max(best, static_cast<double>(kWords * sizeof(uint64_t)) / seconds_since(start));
  }
  return best;
}

}  // namespace lowbit
