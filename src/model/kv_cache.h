// Keys and values of one sequence, as attention reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/thread_pool.h"
#include "kernel/ops.h"
#include "model/config.h"

namespace lowbit {

/// [layer][kv_head][position][head_dim]: what one head attends to is contiguous. Keys of all types but F32 are turned
/// round in blocks of kKeyBlock positions, [block][head_dim][position], so that scores need no sums across a register
/// (see ops.h). Memory is reserved for `capacity` positions, rounded up to whole blocks, but only becomes resident as
/// positions are filled.
///
/// F16 is what llama.cpp does; its rounding moves logits by about 0.01. BF16 has the range of binary32; Q8_0 takes 8.5
/// bits an element; F32 is for exactness, and slow.
class KvCache {
 public:
  /// Throws Error if so many positions cannot be addressed or reserved, or if the heads do not suit the type.
  KvCache(const ModelConfig& config, int64_t capacity, KvType type = KvType::F16);

  KvType type() const { return type_; }
  int64_t size() const { return size_; }  ///< positions filled
  int64_t capacity() const { return capacity_; }
  /// Forgets the positions from `size` on. Precondition: 0 <= size <= this->size().
  void truncate(int64_t size) { size_ = size; }
  /// Fills the positions up to `size` with copies of those there are, for measuring speed. Preconditions: those are
  /// whole blocks of kKeyBlock, at least one; size <= capacity().
  void repeat(int64_t size, ThreadPool& pool);
  uint64_t bytes() const { return bytes_; }

  /// Of a head, rotated: as store_position() and attention take them, or F32 [capacity, head_dim].
  template <typename T = uint8_t>
  T* keys(int64_t layer, int64_t kv_head) const {
    return reinterpret_cast<T*>(data_.get() + static_cast<uint64_t>(layer * kv_heads_ + kv_head) * head_bytes_);
  }
  template <typename T = uint8_t>
  T* values(int64_t layer, int64_t kv_head) const {
    return keys<T>(layers_ + layer, kv_head);
  }

 private:
  friend class Transformer;

  KvType type_;
  int64_t capacity_, size_ = 0, layers_, kv_heads_;
  uint64_t head_bytes_ = 0, bytes_ = 0;  // of the keys of a head, or its values; of all
  std::unique_ptr<std::byte[]> data_;    // keys of all layers, then values
};

/// "f16", "bf16", "q8_0", "f32".
std::string_view name(KvType type);
/// Bytes that a position's key and value of one head take.
int64_t kv_bytes(KvType type, int64_t head_dim);

}  // namespace lowbit
