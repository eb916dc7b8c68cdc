// Models made in memory for tests.
#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "model/source.h"

namespace lowbit {

class MemoryStore : public TensorStore {
 public:
  MemoryStore() { where_ = "memory"; }

  void put(const std::string& name, std::vector<int64_t> shape, const Encoding& encoding, std::vector<std::byte> bytes,
           std::shared_ptr<const StoredAs> stored = nullptr) {
    TensorInfo info;
    info.stored = std::move(stored);
    info.name = name;
    info.shape = std::move(shape);
    info.encoding = &encoding;
    info.bytes = bytes.size();
    bytes_[name] = std::move(bytes);
    add(std::move(info));
  }
  std::vector<std::byte>& bytes(const std::string& name) { return bytes_.at(name); }

  std::span<const std::byte> data(const TensorInfo& tensor) const override { return bytes_.at(tensor.name); }
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override {
    std::memcpy(out.data(), bytes_.at(tensor.name).data() + offset, out.size());
  }
  void drop(const TensorInfo&) const override {}
  std::vector<std::filesystem::path> files() const override { return where_files; }

  std::vector<std::filesystem::path> where_files;

 private:
  std::map<std::string, std::vector<std::byte>> bytes_;
};

inline std::vector<std::byte> as_bytes(const std::vector<float>& values) {
  std::vector<std::byte> out(values.size() * sizeof(float));
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

/// What a tiny model is made of. Weights depend on the seed alone, not on the names.
struct TinyOptions {
  ModelConfig config;
  const Encoding* matrices = nullptr;  ///< nullptr: F32
  bool decoded = false;                ///< store what `matrices` decodes to, as F32
  bool gguf = false;                   ///< GGUF's names and, for llama, its order of q and k rows
  bool biases = false, qk_norm = false;
  unsigned seed = 1;
};

inline ModelConfig tiny_config(int64_t hidden = 64, int64_t layers = 2, int64_t vocab = 96) {
  ModelConfig c;
  for (const Architecture& a : architectures()) {
    if (a.gguf_name == "llama") c.architecture = &a;
  }
  c.hidden = hidden;
  c.layers = layers;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = hidden / 4;
  c.ffn = hidden;
  c.vocab = vocab;
  c.context = 4096;
  c.rms_eps = 1e-5;
  c.tied_embeddings = false;
  return c;
}

class TinyModel {
 public:
  explicit TinyModel(const TinyOptions& options) : options_(options), random_(options.seed) {
    source.path = "tiny";
    source.is_gguf = options.gguf;
    source.config = options.config;
    auto memory = std::make_unique<MemoryStore>();
    store_ = memory.get();
    source.store = std::move(memory);
    const ModelConfig& c = options.config;
    matrix({Role::TokenEmbedding}, c.vocab, c.hidden);
    for (int i = 0; i < static_cast<int>(c.layers); ++i) layer(i);
    vector({Role::OutputNorm}, c.hidden, 1);
    if (!c.tied_embeddings) matrix({Role::Output}, c.vocab, c.hidden);
  }

  MemoryStore& store() { return *store_; }
  ModelSource source;

 private:
  float normal() { return std::normal_distribution<float>()(random_); }

  void layer(int i) {
    const ModelConfig& c = options_.config;
    const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
    vector({Role::AttentionNorm, i}, c.hidden, 1);
    matrix({Role::Q, i}, q, c.hidden, true);
    matrix({Role::K, i}, kv, c.hidden, true);
    matrix({Role::V, i}, kv, c.hidden);
    matrix({Role::AttentionOutput, i}, c.hidden, q);
    vector({Role::FfnNorm, i}, c.hidden, 1);
    matrix({Role::Gate, i}, c.ffn, c.hidden);
    matrix({Role::Up, i}, c.ffn, c.hidden);
    matrix({Role::Down, i}, c.hidden, c.ffn);
    if (options_.biases) {
      vector({Role::Q, i, true}, q, 0, true);
      vector({Role::K, i, true}, kv, 0, true);
      vector({Role::V, i, true}, kv, 0);
    }
    if (options_.qk_norm) {
      vector({Role::QNorm, i}, c.head_dim, 1);
      vector({Role::KNorm, i}, c.head_dim, 1);
    }
  }

  /// Where row r of Hugging Face's order goes.
  int64_t place(int64_t r, bool rotary) const {
    if (!rotary || !options_.gguf) return r;
    const int64_t dim = options_.config.head_dim, half = dim / 2;
    return r / dim * dim + 2 * (r % half) + r % dim / half;
  }

  void vector(const WeightId& id, int64_t size, float center, bool rotary = false) {
    std::vector<float> values(static_cast<size_t>(size));
    for (int64_t r = 0; r < size; ++r) values[static_cast<size_t>(place(r, rotary))] = center + 0.2F * normal();
    store_->put(source.name(id), {size}, encoding(EncodingId::F32), as_bytes(values));
  }

  void matrix(const WeightId& id, int64_t rows, int64_t cols, bool rotary = false) {
    const Encoding& e = options_.matrices ? *options_.matrices : encoding(EncodingId::F32);
    const float scale = (id.role == Role::Q || id.role == Role::K ? 2 : 1) / std::sqrt(static_cast<float>(cols));
    const size_t row_bytes = e.bytes(static_cast<uint64_t>(cols));
    std::vector<std::byte> bytes(static_cast<size_t>(rows) * row_bytes);
    for (int64_t r = 0; r < rows; ++r) {
      random_row(e, scale, cols, bytes.data() + static_cast<size_t>(place(r, rotary)) * row_bytes);
    }
    if (!options_.decoded) return store_->put(source.name(id), {rows, cols}, e, std::move(bytes));
    std::vector<float> values(static_cast<size_t>(rows * cols));
    decode(e, bytes.data(), rows * cols, values.data());
    store_->put(source.name(id), {rows, cols}, encoding(EncodingId::F32), as_bytes(values));
  }

  void random_row(const Encoding& e, float scale, int64_t cols, std::byte* out) {
    if (e.kind == EncodingKind::Float) {
      std::vector<float> values(static_cast<size_t>(cols));
      for (float& v : values) v = scale * normal();
      return encode_float(e, values.data(), cols, out);
    }
    // Random codes on a random grid: no encoder is needed, and every code occurs.
    const float top = std::max(std::fabs(static_cast<float>(e.levels.front())), static_cast<float>(e.levels.back()));
    for (int64_t block = 0; block < cols / e.block; ++block) {
      BlockWish wish;
      for (int s = 0; s < e.sub_blocks(); ++s) {
        wish.scale[static_cast<size_t>(s)] = scale / top * (1 + 0.5F * std::fabs(normal()));
        if (e.has_min) wish.min[static_cast<size_t>(s)] = wish.scale[static_cast<size_t>(s)] * top / 2;
        wish.importance[static_cast<size_t>(s)] = 1;
      }
      uint8_t codes[kMaxBlock];
      std::uniform_int_distribution<int> any(0, static_cast<int>(e.levels.size()) - 1);
      for (int i = 0; i < e.block; ++i) codes[i] = static_cast<uint8_t>(any(random_));
      e.pack(e.snap(wish), codes, out + block * e.block_bytes);
    }
  }

  const TinyOptions options_;
  std::mt19937 random_;
  MemoryStore* store_;
};

}  // namespace lowbit
