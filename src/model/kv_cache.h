// Keys and values of one sequence, as attention reads them.
#pragma once

#include <cstdint>
#include <memory>

#include "model/config.h"

namespace lowbit {

/// Binary16, [layer][kv_head][position][head_dim]: what one head attends to is contiguous. Memory is reserved for
/// `capacity` positions but only becomes resident as positions are filled.
class KvCache {
 public:
  /// Throws Error if so many positions cannot be addressed or reserved.
  KvCache(const ModelConfig& config, int64_t capacity);

  int64_t size() const { return size_; }  ///< positions filled
  int64_t capacity() const { return capacity_; }
  /// Forgets the positions from `size` on. Precondition: 0 <= size <= this->size().
  void truncate(int64_t size) { size_ = size; }
  uint64_t bytes() const { return 2 * sizeof(uint16_t) * elements_; }

  /// [capacity, head_dim], rotated.
  uint16_t* keys(int64_t layer, int64_t kv_head) { return k_.get() + plane(layer, kv_head); }
  /// [capacity, head_dim].
  uint16_t* values(int64_t layer, int64_t kv_head) { return v_.get() + plane(layer, kv_head); }

 private:
  friend class Transformer;
  uint64_t plane(int64_t layer, int64_t kv_head) const {
    return static_cast<uint64_t>(layer * kv_heads_ + kv_head) * static_cast<uint64_t>(capacity_ * head_dim_);
  }

  int64_t capacity_, size_ = 0, kv_heads_, head_dim_;
  uint64_t elements_;  // of keys, and as many of values
  std::unique_ptr<uint16_t[]> k_, v_;
};

}  // namespace lowbit
