#include "model/kv_cache.h"

#include <new>

#include "base/error.h"
#include "kernel/ops.h"

namespace lowbit {

KvCache::KvCache(const ModelConfig& config, int64_t capacity, KvType type)
    : type_(type), capacity_(capacity), layers_(config.layers), kv_heads_(config.kv_heads), head_dim_(config.head_dim) {
  int64_t bytes = type == KvType::F16 ? sizeof(uint16_t) : sizeof(float);
  bool overflow = capacity < 0 || __builtin_add_overflow(capacity, kKeyBlock - 1, &rows_);
  rows_ = rows_ / kKeyBlock * kKeyBlock;
  for (const int64_t factor : {int64_t{2}, layers_, kv_heads_, head_dim_, rows_}) {
    overflow = overflow || __builtin_mul_overflow(bytes, factor, &bytes);
  }
  // Not value-initialized: pages that no position has reached stay untouched.
  if (!overflow) data_.reset(new (std::nothrow) std::byte[static_cast<size_t>(bytes)]);
  if (!data_) fail("no memory for a context of {} tokens: ask for a shorter one (-c)", capacity);
  bytes_ = static_cast<uint64_t>(bytes);
}

}  // namespace lowbit
