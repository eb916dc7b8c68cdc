#include "model/transformer_weights.h"

#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "kernel/columns.h"
#include "model/layout.h"

namespace lowbit {
namespace {

class Loader {
 public:
  Loader(const ModelSource& source, ThreadPool& pool, RepackCache* cache)
      : source_(source), store_(*source.store), pool_(pool), cache_(cache) {}

  std::vector<float> vector(const WeightId& id, int64_t size) {
    const TensorInfo& info = store_.at(source_.name(id));
    if (info.elements() != size) {
      fail("{}: tensor {} has {} elements, {} expected", store_.where(), info.name, info.elements(), size);
    }
    std::vector<float> out(static_cast<size_t>(size));
    read_rows(store_, info, 0, info.rows(), out.data());
    bytes_ += out.size() * sizeof(float);
    return out;
  }

  std::vector<float> optional_vector(const WeightId& id, int64_t size) {
    return source_.find(id) ? vector(id, size) : std::vector<float>();
  }

  /// Rows in Hugging Face's order.
  Linear linear(WeightId id, int64_t rows, int64_t cols) {
    const TensorInfo& info = store_.at(source_.name(id));
    if (info.shape.size() != 2 || info.rows() != rows || info.cols() != cols) {
      fail("{}: tensor {} is {} x {}, {} x {} expected", store_.where(), info.name, info.rows(), info.cols(), rows,
           cols);
    }
    const std::vector<int64_t> order =
        source_.is_gguf ? rotary_order(source_.config, id.role, false) : std::vector<int64_t>();
    Linear out;
    out.id = id;
    if (info.stored) out.inputs = info.stored->inputs;
    out.columns.assign(info.column_order().begin(), info.column_order().end());
    out.w = packed(info, rows, cols, order);
    if (out.inputs.outlier > 0 && !traits(out.w.view().family).is_float && !has_columns(out.w)) {
      fail("{}: tensor {}: outliers of its inputs cannot be kept, as its {} weights are not 8 bits wide",
           store_.where(), info.name, info.encoding->name);
    }
    bytes_ += out.w.bytes();
    id.bias = true;
    const std::vector<float> bias = optional_vector(id, rows);
    out.bias = bias;
    for (size_t r = 0; r < order.size() && !bias.empty(); ++r) out.bias[r] = bias[static_cast<size_t>(order[r])];
    return out;
  }

  /// The matrices of a layer, so that the store makes them ready in parallel.
  void prepare(int layer) const {
    if (cache_ != nullptr && cache_->filled()) return;
    std::vector<const TensorInfo*> infos;
    for (const LayerMatrix& matrix : kLayerMatrices) {
      if (const TensorInfo* info = source_.find({matrix.role, layer})) infos.push_back(info);
    }
    store_.prepare(infos, pool_);
  }

  uint64_t bytes() const { return bytes_; }

 private:
  PackedMatrix packed(const TensorInfo& info, int64_t rows, int64_t cols, const std::vector<int64_t>& order) {
    if (cache_ != nullptr) {
      if (std::optional<PackedMatrix> found = cache_->find(info, pool_)) return std::move(*found);
    }
    PackedMatrix out = pack_matrix(*info.encoding, rows, cols, store_.data(info).data(),
                                   order.empty() ? nullptr : order.data(), pool_);
    store_.drop(info);
    if (cache_ != nullptr) cache_->keep(info, out, pool_);
    return out;
  }

  const ModelSource& source_;
  const TensorStore& store_;
  ThreadPool& pool_;
  RepackCache* cache_;  // nullptr: none
  uint64_t bytes_ = 0;
};

}  // namespace

LayerWeights load_layer(const ModelSource& source, int i, ThreadPool& pool, uint64_t& bytes, RepackCache* cache) {
  const ModelConfig& c = source.config;
  const int64_t q_dim = c.heads * c.head_dim, kv_dim = c.kv_heads * c.head_dim;
  Loader load(source, pool, cache);
  LayerWeights layer;
  load.prepare(i);
  layer.attention_norm = load.vector({Role::AttentionNorm, i}, c.hidden);
  layer.q = load.linear({Role::Q, i}, q_dim, c.hidden);
  layer.k = load.linear({Role::K, i}, kv_dim, c.hidden);
  layer.v = load.linear({Role::V, i}, kv_dim, c.hidden);
  layer.q_norm = load.optional_vector({Role::QNorm, i}, c.head_dim);
  layer.k_norm = load.optional_vector({Role::KNorm, i}, c.head_dim);
  layer.attention_output = load.linear({Role::AttentionOutput, i}, c.hidden, q_dim);
  layer.ffn_norm = load.vector({Role::FfnNorm, i}, c.hidden);
  layer.gate = load.linear({Role::Gate, i}, c.ffn, c.hidden);
  layer.up = load.linear({Role::Up, i}, c.ffn, c.hidden);
  layer.down = load.linear({Role::Down, i}, c.hidden, c.ffn);
  bytes += load.bytes();
  return layer;
}

void load_output(const ModelSource& source, ThreadPool& pool, std::vector<float>& norm, Linear& matrix, uint64_t& bytes,
                 RepackCache* cache) {
  const ModelConfig& c = source.config;
  Loader load(source, pool, cache);
  norm = load.vector({Role::OutputNorm}, c.hidden);
  matrix = load.linear(output_matrix(c), c.vocab, c.hidden);
  bytes += load.bytes();
}

TransformerWeights load_weights(const ModelSource& source, ThreadPool& pool, RepackCache* cache) {
  TransformerWeights w;
  for (int i = 0; i < static_cast<int>(source.config.layers); ++i) {
    w.layers.push_back(load_layer(source, i, pool, w.bytes, cache));
  }
  load_output(source, pool, w.output_norm, w.output, w.bytes, cache);
  if (cache != nullptr) cache->finish();
  return w;
}

uint64_t weight_memory(const ModelSource& source) {
  uint64_t bytes = 0;
  const auto add = [&](const WeightId& id) {
    const TensorInfo& info = source.store->at(source.name(id));
    bytes += packed_bytes(*info.encoding, info.rows(), info.cols(), info.stored ? info.stored->group : 0);
  };
  for (int i = 0; i < static_cast<int>(source.config.layers); ++i) {
    for (const LayerMatrix& matrix : kLayerMatrices) add({matrix.role, i});
  }
  add(output_matrix(source.config));
  return bytes;
}

}  // namespace lowbit
