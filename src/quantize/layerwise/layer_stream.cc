#include "quantize/layerwise/layer_stream.h"

#include <algorithm>

#include "base/error.h"
#include "base/half.h"

namespace lowbit {
namespace {

constexpr int64_t kTokensPerTask = 16;
constexpr size_t kRowsMapped = 4;  // of the embedding, at once

template <typename Task>
void for_tokens(int64_t count, ThreadPool& pool, const Task& task) {
  pool.run((count + kTokensPerTask - 1) / kTokensPerTask, [&](int64_t i, int) {
    const int64_t begin = i * kTokensPerTask;
    task(begin, std::min(count, begin + kTokensPerTask) - begin);
  });
}

}  // namespace

TokenStates::TokenStates(int64_t tokens, int64_t width, ScratchFile* file) : width_(width), file_(file) {
  const auto size = static_cast<uint64_t>(tokens * width);
  if (file_ == nullptr) {
    values_.resize(size);
  } else {
    offset_ = file_->take(size * sizeof(uint16_t));
  }
}

uint64_t TokenStates::place(int64_t token) const {
  return offset_ + static_cast<uint64_t>(token * width_) * sizeof(uint16_t);
}

void TokenStates::set(int64_t begin, int64_t count, const float* from, ThreadPool& pool) {
  for_tokens(count, pool, [&](int64_t first, int64_t n) {
    const auto size = static_cast<size_t>(n * width_);
    std::vector<uint16_t> some(file_ != nullptr ? size : 0);
    uint16_t* to = file_ != nullptr ? some.data() : values_.data() + (begin + first) * width_;
    for (size_t i = 0; i < size; ++i) to[i] = f32_to_bf16(from[static_cast<size_t>(first * width_) + i]);
    if (file_ != nullptr) file_->write(place(begin + first), std::as_bytes(std::span(some)));
  });
}

void TokenStates::get(int64_t begin, int64_t count, float* to, ThreadPool& pool) const {
  for_tokens(count, pool, [&](int64_t first, int64_t n) {
    const auto size = static_cast<size_t>(n * width_);
    std::vector<uint16_t> some(file_ != nullptr ? size : 0);
    if (file_ != nullptr) file_->read(place(begin + first), std::as_writable_bytes(std::span(some)));
    const uint16_t* from = file_ != nullptr ? some.data() : values_.data() + (begin + first) * width_;
    for (size_t i = 0; i < size; ++i) to[static_cast<size_t>(first * width_) + i] = bf16_to_f32(from[i]);
  });
}

LayerStream::LayerStream(const ModelConfig& config, ThreadPool& pool, int64_t length, ScratchFile* spill)
    : pass(one_layer(config), pool, ActivationRounding::Fine), length_(length), spill_(spill) {
  for (int64_t i = 0; i < std::max<int64_t>(1, kSliceTokens / length); ++i) caches_.emplace_back(pass.config, length);
}

void LayerStream::embed(const ModelSource& source, std::span<const int32_t> tokens) {
  const TensorInfo& table = source.store->at(source.name({Role::TokenEmbedding}));
  const int64_t hidden = pass.config.hidden;
  tokens_ = static_cast<int64_t>(tokens.size());
  states_ = TokenStates(tokens_, hidden, spill_);
  std::vector<float> row(static_cast<size_t>(hidden));
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || tokens[t] >= source.config.vocab) {
      fail("{}: calibration token {} is not in the model's vocabulary of {}: the tokenizer is another model's",
           source.store->where(), tokens[t], source.config.vocab);
    }
    read_rows(*source.store, table, tokens[t], 1, row.data());
    states_.set(static_cast<int64_t>(t), 1, row.data(), pass.pool);
    // A row brings up to 2 MiB of its neighbours into memory.
    if (t % kRowsMapped == 0) source.store->drop(table);
  }
}

void LayerStream::enter(int64_t begin, int64_t count) {
  pass.start(caches_, length_, count);
  states_.get(begin, count, pass.x.data(), pass.pool);
}

void LayerStream::enter_sample(int64_t tokens) {
  const int64_t sequences = tokens / length_, taken = std::min(sequences, static_cast<int64_t>(caches_.size()));
  pass.start(caches_, length_, taken * length_);
  for (int64_t i = 0; i < taken; ++i) {
    states_.get(i * sequences / taken * length_, length_, pass.x.data() + i * length_ * pass.config.hidden, pass.pool);
  }
}

void LayerStream::keep_attended(int64_t begin) {
  if (attended_.empty()) attended_ = TokenStates(tokens_, pass.q_dim, spill_);
  attended_.set(begin, pass.count(), pass.attended.data(), pass.pool);
}

void LayerStream::forget_attended() {
  if (spill_ == nullptr) attended_ = TokenStates();
}

void LayerStream::bring_attended(int64_t begin) { bring(attended_, begin, pass.q_dim, pass.attended); }

void LayerStream::bring(const TokenStates& kept, int64_t begin, int64_t width, std::vector<float>& to) {
  const auto size = static_cast<size_t>(pass.count() * width);
  if (to.size() < size) to.resize(size);
  kept.get(begin, pass.count(), to.data(), pass.pool);
}

bool LayerStream::keeps_activated() const {
  return spill_ != nullptr || lowbit::keeps_activated(tokens_, pass.config.ffn);
}

void LayerStream::keep_activated(int64_t begin) {
  if (!keeps_activated()) return;
  if (activated_.empty()) activated_ = TokenStates(tokens_, pass.config.ffn, spill_);
  activated_.set(begin, pass.count(), pass.gate.data(), pass.pool);
  activated_kept_ = true;
}

void LayerStream::finish_ffn(int64_t begin, int64_t count) {
  enter(begin, count);
  if (!activated_kept_) {
    pass.normalize(weights.ffn_norm);
    pass.activate(weights, nullptr);
  } else {
    bring(activated_, begin, pass.config.ffn, pass.gate);
  }
  project_activated(begin);
  if (begin + count < tokens_) return;
  activated_kept_ = false;
  if (spill_ == nullptr) activated_ = TokenStates();
}

void LayerStream::project_activated(int64_t begin) {
  float* gate = pass.gate.data();
  const int64_t ffn = pass.config.ffn;
  for_tokens(pass.count(), pass.pool, [&](int64_t first, int64_t n) {
    for (int64_t i = first * ffn; i < (first + n) * ffn; ++i) gate[i] = bf16_to_f32(f32_to_bf16(gate[i]));
  });
  pass.project_down(weights, nullptr);
  leave(begin);
}

}  // namespace lowbit
