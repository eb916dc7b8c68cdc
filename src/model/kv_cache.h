// Keys and values of one sequence, as attention reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "model/config.h"

namespace lowbit {

/// What keys and values are stored in. F16 is fast and what llama.cpp does; its rounding moves logits by about 0.01.
enum class KvType : uint8_t { F16, F32 };

/// [layer][kv_head][position][head_dim]: what one head attends to is contiguous. Keys of type F16 are turned round in
/// blocks of kKeyBlock positions, [block][head_dim][position], so that scores need no sums across a register. Memory is
/// reserved for `capacity` positions, rounded up to whole blocks, but only becomes resident as positions are filled.
class KvCache {
 public:
  /// Throws Error if so many positions cannot be addressed or reserved.
  KvCache(const ModelConfig& config, int64_t capacity, KvType type = KvType::F16);

  KvType type() const { return type_; }
  int64_t size() const { return size_; }  ///< positions filled
  int64_t capacity() const { return capacity_; }
  /// Forgets the positions from `size` on. Precondition: 0 <= size <= this->size().
  void truncate(int64_t size) { size_ = size; }
  uint64_t bytes() const { return bytes_; }

  /// [capacity, head_dim], rotated, F16 in blocks. T is uint16_t (binary16) or float, as type() says.
  template <typename T>
  T* keys(int64_t layer, int64_t kv_head) const {
    return reinterpret_cast<T*>(data_.get()) + plane(layer, kv_head);
  }
  /// [capacity, head_dim].
  template <typename T>
  T* values(int64_t layer, int64_t kv_head) const {
    return keys<T>(layers_ + layer, kv_head);
  }

 private:
  friend class Transformer;
  uint64_t plane(int64_t layer, int64_t kv_head) const {
    return static_cast<uint64_t>(layer * kv_heads_ + kv_head) * static_cast<uint64_t>(rows_ * head_dim_);
  }

  KvType type_;
  int64_t capacity_, rows_, size_ = 0, layers_, kv_heads_, head_dim_;
  uint64_t bytes_ = 0;
  std::unique_ptr<std::byte[]> data_;  // keys of all layers, then values
};

}  // namespace lowbit
