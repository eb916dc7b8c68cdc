// The forward pass. There is one: what distinguishes architectures is data in ModelConfig.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "model/kv_cache.h"
#include "model/repack_cache.h"
#include "model/source.h"

namespace lowbit {

/// A run of consecutive tokens of one sequence, appended to its cache.
struct Segment {
  std::span<const int32_t> tokens;
  KvCache* cache = nullptr;  ///< no two segments of a call share one
  int64_t first_output = 0;  ///< hidden states are returned for tokens[first_output ...]
};

/// Sees the inputs of each matrix just before its product: how calibration listens.
class Tap {
 public:
  virtual ~Tap() = default;
  /// x is [tokens, cols], row-major; called on the caller's thread. Of the last layer, what follows attention is only
  /// computed (and seen) for the tokens whose output is wanted.
  virtual void input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) = 0;
};

/// How activations are rounded for products (and F16 weights, where Fast has them multiplied as BF16).
enum class ActivationRounding : uint8_t {
  Fine,      ///< to 8 bits with a scale every 32 for codes; not at all for float weights: what models are judged by
  Fast,      ///< the same, but as Kernels::fastest() has it: what models are run with
  LlamaCpp,  ///< with a scale every 256 for encodings of 256-weight blocks; to compare figures with llama.cpp's
};

class Transformer {
 public:
  /// Loads and packs every weight, dropping the source's pages behind it. `source` must outlive this object: rows of
  /// the embedding are read from it as tokens need them. Throws Error for a tensor that no kernel can multiply.
  /// `cache`: see load_weights().
  Transformer(const ModelSource& source, ThreadPool& pool, ActivationRounding rounding = ActivationRounding::Fine,
              RepackCache* cache = nullptr);
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  const ModelConfig& config() const;
  uint64_t weight_bytes() const;  ///< memory of the packed weights
  ThreadPool& pool() const;
  ActivationRounding rounding() const;

  /// Runs all segments as one batch (internally in slices of at most kSliceTokens, so that memory stays bounded).
  /// Returns the final normed hidden states of the wanted tokens, segment by segment: [outputs, hidden]. A token's
  /// result depends, bit for bit, only on the tokens before it in its sequence: not on the other segments, on how
  /// tokens are spread over calls, nor on the number of threads. Throws Error, and leaves the caches as they were, if
  /// a token id is out of range or a cache is too small.
  std::vector<float> forward(std::span<const Segment> segments, Tap* tap = nullptr);

  /// logits[n, vocab] of hidden states [n, hidden].
  void logits(const float* hidden, int64_t n, float* out, Tap* tap = nullptr);

  static constexpr int64_t kSliceTokens = 512;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
