// The hidden states of all calibration tokens in one model, and the way through one of its layers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/scratch_file.h"
#include "model/layer_pass.h"
#include "model/source.h"

namespace lowbit {

/// Values of [tokens, width], kept in BF16: there are many of them, and they are rounded far more finely than any error
/// that matters here. In memory, or in a file: the same values.
class TokenStates {
 public:
  TokenStates() = default;
  /// `file`, unless nullptr, must outlive the states.
  TokenStates(int64_t tokens, int64_t width, ScratchFile* file);

  /// Tokens [begin, begin + count) from or to out[count, width].
  void set(int64_t begin, int64_t count, const float* from, ThreadPool& pool);
  void get(int64_t begin, int64_t count, float* to, ThreadPool& pool) const;
  bool empty() const { return file_ == nullptr && values_.empty(); }

 private:
  uint64_t place(int64_t token) const;

  int64_t width_ = 0;
  std::vector<uint16_t> values_;
  ScratchFile* file_ = nullptr;
  uint64_t offset_ = 0;  // in the file
};

inline constexpr int64_t kSliceTokens = 1024;  ///< that go through a layer together: enough to keep the cores busy

inline constexpr uint64_t kMostKept = uint64_t{256} << 20;  ///< bytes, rather than computed again

/// Whether the activated gates of so many tokens are kept.
inline bool keeps_activated(int64_t tokens, int64_t ffn) {
  return static_cast<uint64_t>(tokens) * static_cast<uint64_t>(ffn) * sizeof(uint16_t) <= kMostKept;
}

class LayerStream {
 public:
  /// `length`: tokens a sequence. `spill`: where what is kept of tokens goes, or nullptr: in memory.
  LayerStream(const ModelConfig& config, ThreadPool& pool, int64_t length, ScratchFile* spill);

  /// Tokens that go through the layer together: whole sequences.
  int64_t slice() const { return static_cast<int64_t>(caches_.size()) * length_; }

  /// The first layer's inputs. Throws Error for an id that is not in the vocabulary.
  void embed(const ModelSource& source, std::span<const int32_t> tokens);
  /// Prepares the pass for tokens [begin, begin + count), whole sequences, no more than slice().
  void enter(int64_t begin, int64_t count);
  /// Prepares the pass for as many of the sequences in `tokens` tokens as it takes at once, evenly spaced.
  void enter_sample(int64_t tokens);
  /// Keeps the states that enter() brought, as the pass has made them.
  void leave(int64_t begin) { states_.set(begin, pass.count(), pass.x.data(), pass.pool); }
  /// Keeps the pass's attended, and brings it back.
  void keep_attended(int64_t begin);
  void bring_attended(int64_t begin);
  void forget_attended();

  /// Whether the pass's activated gates are kept for finish_ffn(): in a file, or if those of all tokens take no more
  /// than kMostKept bytes.
  bool keeps_activated() const;
  void keep_activated(int64_t begin);
  /// From the states of these tokens, or the gates that were kept of them, to the states behind the layer.
  void finish_ffn(int64_t begin, int64_t count);
  /// The pass's activated gates, rounded as if they had been kept, through the down projection to the kept states.
  void project_activated(int64_t begin);
  /// Gives the pass's memory back until the next slice.
  void rest() { pass.release(); }
  /// The kept states of tokens, to[count, hidden].
  void states(int64_t begin, int64_t count, float* to) const { states_.get(begin, count, to, pass.pool); }

  LayerPass pass;
  LayerWeights weights;

 private:
  /// Kept values of the pass's tokens into one of its buffers, [tokens, width].
  void bring(const TokenStates& kept, int64_t begin, int64_t width, std::vector<float>& to);

  const int64_t length_;
  ScratchFile* const spill_;
  int64_t tokens_ = 0;
  bool activated_kept_ = false;
  std::vector<KvCache> caches_;
  TokenStates states_, attended_, activated_;
};

}  // namespace lowbit
