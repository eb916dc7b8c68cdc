// The forward pass through one layer, part by part, for a slice of tokens. There is no other: Transformer runs all
// layers of a model through it, quantize/ one layer at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "kernel/kernels.h"
#include "model/transformer.h"
#include "model/transformer_weights.h"

namespace lowbit {

/// The model of a single layer, for passes that go layer by layer.
ModelConfig one_layer(ModelConfig config);

/// A token of the slice being computed.
struct Token {
  int32_t id;
  int64_t position;
  KvCache* cache;
  int64_t output;  ///< its row in the result, or -1
};

/// The inputs of one or several products, in each form that their matrices multiply, made once. The matrices ask for
/// the same rounding of them.
class Inputs {
 public:
  explicit Inputs(ActivationRounding rounding) : rounding_(rounding) {}
  void set(const float* x, int64_t tokens) {
    x_ = x;
    tokens_ = tokens;
    std::fill_n(ready_, kForms, false);
  }
  /// Gives the memory back.
  void release() {
    for (Activations& form : forms_) form = Activations();
    std::fill_n(ready_, kForms, false);
    rest_ = std::vector<float>();
    first_outlier_ = std::vector<size_t>();
    outlier_columns_ = std::vector<int32_t>();
    outliers_ = std::vector<float>();
  }
  const Activations& of(const Linear& linear, const Kernels& kernels, ThreadPool& pool);
  /// Adds to out[tokens, rows], for the rows of panels [begin, end) and tokens [first, last), what of() kept apart.
  void add_outliers(const Linear& linear, int64_t begin, int64_t end, int64_t first, int64_t last, float* out) const;

 private:
  enum Form { kFloats, kBf16, kCodes, kChunks, kBlockScales, kAsked, kForms };
  Form form_of(const Linear& linear, const Kernels& kernels) const;
  const float* without_outliers(float threshold, int64_t cols);

  const ActivationRounding rounding_;
  const float* x_ = nullptr;
  int64_t tokens_ = 0;
  Activations forms_[kForms];
  bool ready_[kForms] = {};
  std::vector<float> rest_;            // inputs with 0 for outliers
  std::vector<size_t> first_outlier_;  // [tokens + 1] of each token
  std::vector<int32_t> outlier_columns_;
  std::vector<float> outliers_;
};

struct Product {
  const Linear* linear;
  float* out;  ///< [tokens, rows]
};

/// The slice in progress and what is done to it. Set `tokens`, fill `x`, call set_angles(), then for each layer
/// attention_block() and ffn_block(), or their parts in that order. Results depend on nothing but a token and those
/// before it in its cache.
class LayerPass {
 public:
  LayerPass(const ModelConfig& model, ThreadPool& threads, ActivationRounding rounding);

  void set_angles();
  /// Makes `count` tokens of whole sequences of `length` tokens the slice, one cache a sequence, with room for x.
  void start(std::vector<KvCache>& caches, int64_t length, int64_t count);
  /// `index` is the layer's place in the caches. Of the last layer, only tokens whose output is wanted go on after
  /// their keys and values are stored.
  void attention_block(const LayerWeights& layer, int64_t index, bool last, Tap* tap);
  void ffn_block(const LayerWeights& layer, Tap* tap);

  // The parts of attention_block: x -> normed -> q, k, v and the cache -> attended -> x.
  void normalize(const std::vector<float>& weight);
  void project_qkv(const LayerWeights& layer, int64_t index, Tap* tap);
  void attend(int64_t index);
  void project_attended(const LayerWeights& layer, Tap* tap);
  // The parts of ffn_block after normalize: normed -> gate -> x.
  void activate(const LayerWeights& layer, Tap* tap);
  void project_down(const LayerWeights& layer, Tap* tap);

  /// Gives the slice's memory back; start() begins anew.
  void release();

  void multiply(std::initializer_list<Product> products, const float* in, int64_t n, Tap* tap);
  /// task(t) for tokens [0, n), by default the slice's, shared out.
  void for_tokens(const std::function<void(int64_t)>& task) { for_tokens(count(), task); }
  void for_tokens(int64_t n, const std::function<void(int64_t)>& task);
  int64_t count() const { return static_cast<int64_t>(tokens.size()); }

  const ModelConfig config;
  ThreadPool& pool;
  const Kernels& kernels;
  const std::vector<double> frequencies;
  const int64_t q_dim, kv_dim;
  const float eps, scale;

  std::vector<Token> tokens;
  std::vector<float> x;         ///< [tokens, hidden], the residual stream
  std::vector<float> normed;    ///< [tokens, hidden], inputs of a block
  std::vector<float> attended;  ///< [tokens, heads * head_dim], inputs of the attention's output matrix
  std::vector<float> gate;      ///< [tokens, ffn], inputs of the down projection

 private:
  void rotate_and_store(const LayerWeights& layer, int64_t index);
  void keep_outputs();
  void store(const Token& token, int64_t layer, int64_t kv_head, const float* key, const float* value) const;
  void attend_f32(int64_t index, int64_t t);
  void multiply_alike(std::span<const Product> products, const float* in, int64_t n);
  void add_to_stream(const Linear& linear, float* y);

  std::vector<float> q, k, v, projected, up, gathered;
  std::vector<float> cos, sin;                    // [tokens, head_dim / 2]
  int64_t started_length = 0, started_count = 0;  // what start() has made them for
  Inputs inputs;
};

}  // namespace lowbit
