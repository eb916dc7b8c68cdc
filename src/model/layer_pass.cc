#include "model/layer_pass.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernel/tasks.h"

namespace lowbit {
namespace {

// Tokens a task of a loop over tokens: enough to outweigh the hand-over, few enough to share out a short prompt.
constexpr int64_t kTokensPerTask = 8;

float* at_least(std::vector<float>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(static_cast<size_t>(size));
  return buffer.data();
}

/// One head over a cache of type F32, for exactness rather than speed: portable, sums in binary64.
void attention_f32(const float* query, const float* keys, const float* values, int64_t dim, int64_t positions,
                   float scale, float* out) {
  std::vector<double> weights(static_cast<size_t>(positions)), sums(static_cast<size_t>(dim));
  double top = -std::numeric_limits<double>::infinity(), total = 0;
  for (int64_t p = 0; p < positions; ++p) {
    double dot = 0;
    for (int64_t i = 0; i < dim; ++i) dot += static_cast<double>(query[i]) * static_cast<double>(keys[p * dim + i]);
    weights[p] = dot * static_cast<double>(scale);
    top = std::max(top, weights[p]);
  }
  for (int64_t p = 0; p < positions; ++p) {
    const double weight = std::exp(weights[p] - top);
    total += weight;
    for (int64_t i = 0; i < dim; ++i) sums[i] += weight * static_cast<double>(values[p * dim + i]);
  }
  for (int64_t i = 0; i < dim; ++i) out[i] = static_cast<float>(sums[i] / total);
}

}  // namespace

ModelConfig one_layer(ModelConfig config) {
  config.layers = 1;
  return config;
}

LayerPass::LayerPass(const ModelConfig& model, ThreadPool& threads, ActivationRounding rounding)
    : config(model),
      pool(threads),
      kernels(lowbit::kernels()),
      frequencies(rope_frequencies(model)),
      q_dim(config.heads * config.head_dim),
      kv_dim(config.kv_heads * config.head_dim),
      eps(static_cast<float>(config.rms_eps)),
      scale(static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_dim)))),
      inputs(rounding) {}

void LayerPass::for_tokens(int64_t n, const std::function<void(int64_t)>& task) {
  pool.run((n + kTokensPerTask - 1) / kTokensPerTask, [&](int64_t block, int) {
    const int64_t end = std::min(n, (block + 1) * kTokensPerTask);
    for (int64_t t = block * kTokensPerTask; t < end; ++t) task(t);
  });
}

void LayerPass::set_angles() {
  started_length = 0;
  const int64_t half = config.head_dim / 2;
  at_least(cos, count() * half);
  at_least(sin, count() * half);
  for_tokens([&](int64_t t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(tokens[t].position) * frequencies[i];
      cos[t * half + i] = static_cast<float>(std::cos(angle));
      sin[t * half + i] = static_cast<float>(std::sin(angle));
    }
  });
}

void LayerPass::start(std::vector<KvCache>& caches, int64_t length, int64_t count) {
  tokens.clear();
  for (int64_t t = 0; t < count; ++t) {
    tokens.push_back({0, t % length, &caches[static_cast<size_t>(t / length)], 0});
  }
  at_least(x, count * config.hidden);
  if (length == started_length && count <= started_count) return;  // the same angles
  set_angles();
  started_length = length;
  started_count = count;
}

void LayerPass::release() {
  for (std::vector<float>* buffer :
       {&x, &normed, &attended, &gate, &q, &k, &v, &projected, &up, &gathered, &cos, &sin}) {
    std::vector<float>().swap(*buffer);
  }
  inputs.release();
  tokens.clear();
  started_length = started_count = 0;
}

void LayerPass::normalize(const std::vector<float>& weight) {
  float* out = at_least(normed, count() * config.hidden);
  for_tokens([&](int64_t t) {
    kernels.rms_norm(&x[t * config.hidden], weight.data(), config.hidden, eps, out + t * config.hidden);
  });
}

void LayerPass::multiply(std::initializer_list<Product> products, const float* in, int64_t n, Tap* tap) {
  std::vector<Product> alike;
  for (const Product& p : products) {
    const int64_t cols = p.linear->w.cols();
    if (tap) tap->input(p.linear->id, in, n, cols);
    const std::vector<int32_t>& columns = p.linear->columns;
    if (columns.empty()) {
      alike.push_back(p);
      continue;
    }
    float* inputs_of_w = at_least(gathered, n * cols);
    for_tokens(n, [&](int64_t t) {
      for (int64_t c = 0; c < cols; ++c) inputs_of_w[t * cols + c] = in[t * cols + columns[static_cast<size_t>(c)]];
    });
    multiply_alike({&p, 1}, inputs_of_w, n);
  }
  while (!alike.empty()) {  // those that ask for the same rounding of their inputs, together
    const InputRounding asked = alike.front().linear->inputs;
    const auto others =
        std::stable_partition(alike.begin(), alike.end(), [&](const Product& p) { return p.linear->inputs == asked; });
    multiply_alike({alike.begin(), others}, in, n);
    alike.erase(alike.begin(), others);
  }
}

/// Products that take the very same inputs, shared out together.
void LayerPass::multiply_alike(std::span<const Product> products, const float* in, int64_t n) {
  inputs.set(in, n);
  int64_t panels = 0;
  for (const Product& p : products) {
    inputs.of(*p.linear, kernels, pool);
    panels += p.linear->w.panels();
  }
  const Tasks tasks = share_out(panels, n, pool.size());
  pool.run(tasks.count(), [&](int64_t task, int) {
    const int64_t first = task % tasks.token_ranges * tasks.tokens, last = std::min(n, first + tasks.tokens);
    int64_t before = 0;
    for (const Product& p : products) {
      const PackedMatrix& w = p.linear->w;
      const auto [b, e] = panels_of(tasks, task / tasks.token_ranges, before, w.panels());
      before += w.panels();
      const Activations& a = inputs.of(*p.linear, kernels, pool);
      const auto matmul = kernels.matmul(a.form);
      if (b < e) {
        matmul(w.view(), b, e, tokens_of(a, first, last), p.out + first * w.rows(), w.rows());
        inputs.add_outliers(*p.linear, b, e, first, last, p.out);
      }
    }
  });
}

void LayerPass::add_to_stream(const Linear& linear, float* y) {
  for_tokens([&](int64_t t) {
    if (!linear.bias.empty()) kernels.add(y + t * config.hidden, linear.bias.data(), config.hidden);
    kernels.add(&x[t * config.hidden], y + t * config.hidden, config.hidden);
  });
}

void LayerPass::attention_block(const LayerWeights& layer, int64_t index, bool last, Tap* tap) {
  normalize(layer.attention_norm);
  project_qkv(layer, index, tap);
  if (last) keep_outputs();
  if (tokens.empty()) return;
  attend(index);
  project_attended(layer, tap);
}

void LayerPass::project_qkv(const LayerWeights& layer, int64_t index, Tap* tap) {
  multiply({{&layer.q, at_least(q, count() * q_dim)},
            {&layer.k, at_least(k, count() * kv_dim)},
            {&layer.v, at_least(v, count() * kv_dim)}},
           normed.data(), count(), tap);
  rotate_and_store(layer, index);
}

void LayerPass::project_attended(const LayerWeights& layer, Tap* tap) {
  float* y = at_least(projected, count() * config.hidden);
  multiply({{&layer.attention_output, y}}, attended.data(), count(), tap);
  add_to_stream(layer.attention_output, y);
}

void LayerPass::rotate_and_store(const LayerWeights& layer, int64_t index) {
  const int64_t dim = config.head_dim;
  const auto add_bias = [&](const Linear& linear, float* y) {
    if (!linear.bias.empty()) kernels.add(y, linear.bias.data(), linear.w.rows());
  };
  for_tokens([&](int64_t t) {
    float* qt = &q[t * q_dim];
    float* kt = &k[t * kv_dim];
    float* vt = &v[t * kv_dim];
    add_bias(layer.q, qt);
    add_bias(layer.k, kt);
    add_bias(layer.v, vt);
    const float* c = &cos[t * dim / 2];
    const float* s = &sin[t * dim / 2];
    for (int64_t h = 0; h < config.heads; ++h) {
      float* head = qt + h * dim;
      if (!layer.q_norm.empty()) kernels.rms_norm(head, layer.q_norm.data(), dim, eps, head);
      kernels.rope(head, c, s, dim);
    }
    for (int64_t h = 0; h < config.kv_heads; ++h) {
      float* head = kt + h * dim;
      if (!layer.k_norm.empty()) kernels.rms_norm(head, layer.k_norm.data(), dim, eps, head);
      kernels.rope(head, c, s, dim);
      store(tokens[t], index, h, head, vt + h * dim);
    }
  });
}

void LayerPass::store(const Token& token, int64_t layer, int64_t kv_head, const float* key, const float* value) const {
  const int64_t dim = config.head_dim, offset = token.position * dim;
  const KvCache& cache = *token.cache;
  if (cache.type() == KvType::F32) {
    std::copy_n(key, dim, cache.keys<float>(layer, kv_head) + offset);
    std::copy_n(value, dim, cache.values<float>(layer, kv_head) + offset);
  } else {
    store_position(kernels, cache.type(), key, value, dim, token.position, cache.keys(layer, kv_head),
                   cache.values(layer, kv_head));
  }
}

void LayerPass::keep_outputs() {
  int64_t kept = 0;
  for (int64_t t = 0; t < count(); ++t) {
    if (tokens[t].output < 0) continue;
    if (kept != t) {
      tokens[kept] = tokens[t];
      std::copy_n(&x[t * config.hidden], config.hidden, &x[kept * config.hidden]);
      std::copy_n(&q[t * q_dim], q_dim, &q[kept * q_dim]);
    }
    ++kept;
  }
  tokens.resize(static_cast<size_t>(kept));
}

void LayerPass::attend(int64_t index) {
  at_least(attended, count() * q_dim);
  const int64_t group = config.heads / config.kv_heads, width = group * config.head_dim;
  std::vector<AttentionArgs> heads;
  for (int64_t begin = 0, end = 0; begin < count(); begin = end) {
    const KvCache& cache = *tokens[begin].cache;
    for (end = begin + 1; end < count() && tokens[end].cache == &cache;) ++end;
    if (cache.type() == KvType::F32) continue;
    for (int64_t h = 0; h < config.kv_heads; ++h) {
      AttentionArgs& a = heads.emplace_back();
      a.q = &q[begin * q_dim + h * width];
      a.k = cache.keys(index, h);
      a.v = cache.values(index, h);
      a.out = &attended[begin * q_dim + h * width];
      a.heads = static_cast<int>(group);
      a.head_dim = static_cast<int>(config.head_dim);
      a.position = tokens[begin].position;
      a.tokens = end - begin;
      a.stride = q_dim;
      a.window = config.sliding_window;
      a.scale = scale;
      a.type = cache.type();
    }
  }
  lowbit::attend(kernels, heads, pool);
  for_tokens([&](int64_t t) {
    if (tokens[t].cache->type() == KvType::F32) attend_f32(index, t);
  });
}

void LayerPass::attend_f32(int64_t index, int64_t t) {
  const int64_t dim = config.head_dim, group = config.heads / config.kv_heads;
  const Token& token = tokens[t];
  const int64_t first =
      config.sliding_window > 0 ? std::max<int64_t>(0, token.position - config.sliding_window + 1) : 0;
  for (int64_t h = 0; h < config.heads; ++h) {
    const int64_t at = t * q_dim + h * dim;
    attention_f32(&q[at], token.cache->keys<float>(index, h / group) + first * dim,
                  token.cache->values<float>(index, h / group) + first * dim, dim, token.position - first + 1, scale,
                  &attended[at]);
  }
}

void LayerPass::ffn_block(const LayerWeights& layer, Tap* tap) {
  normalize(layer.ffn_norm);
  activate(layer, tap);
  project_down(layer, tap);
}

void LayerPass::activate(const LayerWeights& layer, Tap* tap) {
  const int64_t ffn = config.ffn;
  multiply({{&layer.gate, at_least(gate, count() * ffn)}, {&layer.up, at_least(up, count() * ffn)}}, normed.data(),
           count(), tap);
  for_tokens([&](int64_t t) {
    if (!layer.gate.bias.empty()) kernels.add(&gate[t * ffn], layer.gate.bias.data(), ffn);
    if (!layer.up.bias.empty()) kernels.add(&up[t * ffn], layer.up.bias.data(), ffn);
    kernels.silu_mul(&gate[t * ffn], &up[t * ffn], ffn);
  });
}

void LayerPass::project_down(const LayerWeights& layer, Tap* tap) {
  float* y = at_least(projected, count() * config.hidden);
  multiply({{&layer.down, y}}, gate.data(), count(), tap);
  add_to_stream(layer.down, y);
}

}  // namespace lowbit
