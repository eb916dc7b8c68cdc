#include "model/transformer.h"

#include <algorithm>

#include "base/error.h"
#include "model/layer_pass.h"

namespace lowbit {

struct Transformer::Impl {
  Impl(const ModelSource& s, ThreadPool& p, ActivationRounding r, RepackCache* cache)
      : source(s),
        config(s.config),
        weights(load_weights(s, p, cache)),
        embedding(s.store->at(s.name({Role::TokenEmbedding}))),
        rounding(r),
        pass(s.config, p, r) {}

  std::vector<Token> check(std::span<const Segment> segments, int64_t& outputs) const;
  void run_slice(std::span<const Token> slice, float* out, Tap* tap);
  void embed();

  const ModelSource& source;
  const ModelConfig config;
  const TransformerWeights weights;
  const TensorInfo& embedding;
  const ActivationRounding rounding;
  LayerPass pass;
};

Transformer::Transformer(const ModelSource& source, ThreadPool& pool, ActivationRounding rounding, RepackCache* cache)
    : impl_(std::make_unique<Impl>(source, pool, rounding, cache)) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;
const ModelConfig& Transformer::config() const { return impl_->config; }
uint64_t Transformer::weight_bytes() const { return impl_->weights.bytes; }
ThreadPool& Transformer::pool() const { return impl_->pass.pool; }
ActivationRounding Transformer::rounding() const { return impl_->rounding; }

std::vector<float> Transformer::forward(std::span<const Segment> segments, Tap* tap) {
  int64_t outputs = 0;
  const std::vector<Token> all = impl_->check(segments, outputs);
  std::vector<float> result(static_cast<size_t>(outputs * impl_->config.hidden));
  for (size_t begin = 0; begin < all.size(); begin += static_cast<size_t>(kSliceTokens)) {
    const size_t n = std::min(all.size() - begin, static_cast<size_t>(kSliceTokens));
    impl_->run_slice(std::span(all).subspan(begin, n), result.data(), tap);
  }
  for (const Segment& s : segments) s.cache->size_ += static_cast<int64_t>(s.tokens.size());
  return result;
}

void Transformer::logits(const float* hidden, int64_t n, float* out, Tap* tap) {
  impl_->pass.multiply({{&impl_->weights.output, out}}, hidden, n, tap);
}

std::vector<Token> Transformer::Impl::check(std::span<const Segment> segments, int64_t& outputs) const {
  std::vector<Token> all;
  for (const Segment& s : segments) {
    const int64_t n = static_cast<int64_t>(s.tokens.size());
    if (n > s.cache->capacity() - s.cache->size()) {
      fail("{}: a context of {} tokens has no room for {} more after {}", source.path.string(), s.cache->capacity(), n,
           s.cache->size());
    }
    for (int64_t i = 0; i < n; ++i) {
      const int32_t id = s.tokens[static_cast<size_t>(i)];
      if (id < 0 || id >= config.vocab) {
        fail("{}: token {} is not in the model's vocabulary of {}", source.path.string(), id, config.vocab);
      }
      all.push_back({id, s.cache->size() + i, s.cache, i >= s.first_output ? outputs++ : -1});
    }
  }
  return all;
}

void Transformer::Impl::run_slice(std::span<const Token> slice, float* out, Tap* tap) {
  pass.tokens.assign(slice.begin(), slice.end());
  embed();
  pass.set_angles();
  for (int64_t i = 0; i < config.layers; ++i) {
    const LayerWeights& layer = weights.layers[static_cast<size_t>(i)];
    pass.attention_block(layer, i, i + 1 == config.layers, tap);
    if (pass.tokens.empty()) return;
    pass.ffn_block(layer, tap);
  }
  pass.for_tokens([&](int64_t t) {
    pass.kernels.rms_norm(&pass.x[static_cast<size_t>(t * config.hidden)], weights.output_norm.data(), config.hidden,
                          pass.eps, out + pass.tokens[static_cast<size_t>(t)].output * config.hidden);
  });
}

void Transformer::Impl::embed() {
  const auto size = static_cast<size_t>(pass.count() * config.hidden);
  if (pass.x.size() < size) pass.x.resize(size);
  pass.for_tokens([&](int64_t t) {
    read_rows(*source.store, embedding, pass.tokens[static_cast<size_t>(t)].id, 1, pass.x.data() + t * config.hidden);
  });
}

}  // namespace lowbit
