// The forward pass. There is one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernel/kernels.h"
#include "model/source.h"

namespace lowbit {

/// Keys and values of one sequence, binary16, [layer][position][kv_heads * head_dim].
class KvCache {
 public:
  KvCache(const ModelConfig& config, int64_t capacity);
  int64_t size() const { return size_; }          ///< positions filled
  int64_t capacity() const { return capacity_; }
  void truncate(int64_t size) { size_ = size; }   ///< forget later positions
  uint64_t bytes() const { return 2 * (k_.size() + v_.size()); }

 private:
  friend class Transformer;
  int64_t capacity_, size_ = 0, width_;
  std::vector<uint16_t> k_, v_;
};

/// A run of consecutive tokens of one sequence, appended to its cache.
struct Segment {
  std::span<const int32_t> tokens;
  KvCache* cache;
  int64_t first_output = 0;  ///< hidden states are returned for tokens[first_output ...]
};

/// Sees the inputs of each matrix before its product: how calibration listens. x is [tokens, cols], row-major.
class Tap {
 public:
  virtual ~Tap() = default;
  virtual void input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) = 0;
};

class Transformer {
 public:
  /// Loads and packs every weight. Source pages are dropped as they are packed.
  Transformer(const ModelSource& source, ThreadPool& pool);
  ~Transformer();

  const ModelConfig& config() const;
  uint64_t weight_bytes() const;  ///< memory of the packed weights

  /// Runs all segments as one batch. Returns the final normed hidden states of the wanted tokens, segment by segment:
  /// [outputs, hidden]. Throws Error if a token id is out of range or a cache is too small.
  std::vector<float> forward(std::span<const Segment> segments, Tap* tap = nullptr);
  /// logits[n, vocab] of hidden states [n, hidden].
  void logits(const float* hidden, int64_t n, float* out, Tap* tap = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
