#include "quantize/layer_stream.h"

#include <algorithm>

#include "base/error.h"
#include "base/half.h"

namespace lowbit {
namespace {

constexpr int64_t kTokensPerTask = 16;

template <typename Task>
void for_values(int64_t count, int64_t width, ThreadPool& pool, const Task& task) {
  pool.run((count + kTokensPerTask - 1) / kTokensPerTask, [&](int64_t i, int) {
    const int64_t begin = i * kTokensPerTask * width, end = std::min(count, (i + 1) * kTokensPerTask) * width;
    for (int64_t k = begin; k < end; ++k) task(k);
  });
}

}  // namespace

void TokenStates::set(int64_t begin, int64_t count, const float* from, ThreadPool& pool) {
  uint16_t* to = values_.data() + begin * width_;
  for_values(count, width_, pool, [&](int64_t i) { to[i] = f32_to_bf16(from[i]); });
}

void TokenStates::get(int64_t begin, int64_t count, float* to, ThreadPool& pool) const {
  const uint16_t* from = values_.data() + begin * width_;
  for_values(count, width_, pool, [&](int64_t i) { to[i] = bf16_to_f32(from[i]); });
}

LayerStream::LayerStream(const ModelConfig& config, ThreadPool& pool, int64_t length)
    : pass(one_layer(config), pool, ActivationScales::Fine), length_(length) {
  for (int64_t i = 0; i < std::max<int64_t>(1, kSliceTokens / length); ++i) caches_.emplace_back(pass.config, length);
}

void LayerStream::embed(const ModelSource& source, std::span<const int32_t> tokens) {
  const TensorInfo& table = source.store->at(source.name({Role::TokenEmbedding}));
  const int64_t hidden = pass.config.hidden;
  tokens_ = static_cast<int64_t>(tokens.size());
  states_ = TokenStates(tokens_, hidden);
  std::vector<float> row(static_cast<size_t>(hidden));
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || tokens[t] >= source.config.vocab)
      fail("calibration token {} is not in the vocabulary", tokens[t]);
    read_rows(*source.store, table, tokens[t], 1, row.data());
    states_.set(static_cast<int64_t>(t), 1, row.data(), pass.pool);
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
  if (begin == 0) attended_ = TokenStates(tokens_, pass.q_dim);
  attended_.set(begin, pass.count(), pass.attended.data(), pass.pool);
}

void LayerStream::bring_attended(int64_t begin) { bring(attended_, begin, pass.q_dim, pass.attended); }

void LayerStream::bring(const TokenStates& kept, int64_t begin, int64_t width, std::vector<float>& to) {
  const auto size = static_cast<size_t>(pass.count() * width);
  if (to.size() < size) to.resize(size);
  kept.get(begin, pass.count(), to.data(), pass.pool);
}

void LayerStream::keep_activated(int64_t begin) {
  if (!keeps_activated(tokens_, pass.config.ffn)) return;
  if (begin == 0) activated_ = TokenStates(tokens_, pass.config.ffn);
  activated_.set(begin, pass.count(), pass.gate.data(), pass.pool);
}

void LayerStream::finish_ffn(int64_t begin, int64_t count) {
  enter(begin, count);
  if (activated_.empty()) {
    pass.normalize(weights.ffn_norm);
    pass.activate(weights, nullptr);
  } else {
    bring(activated_, begin, pass.config.ffn, pass.gate);
  }
  project_activated(begin);
  if (begin + count == tokens_) activated_ = TokenStates();
}

void LayerStream::project_activated(int64_t begin) {
  float* gate = pass.gate.data();
  for_values(pass.count(), pass.config.ffn, pass.pool, [&](int64_t i) { gate[i] = bf16_to_f32(f32_to_bf16(gate[i])); });
  pass.project_down(weights, nullptr);
  leave(begin);
}

}  // namespace lowbit
