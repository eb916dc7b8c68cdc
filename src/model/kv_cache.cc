#include "model/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/error.h"

namespace lowbit {
namespace {

int64_t block_bytes(KvType type, int64_t head_dim) {
  return type == KvType::F32 ? kKeyBlock * head_dim * int64_t{sizeof(float)} : key_block_bytes(type, head_dim);
}

}  // namespace

std::string_view name(KvType type) {
  constexpr std::string_view kNames[] = {"f16", "bf16", "q8_0", "f32"};
  return kNames[static_cast<size_t>(type)];
}

int64_t kv_bytes(KvType type, int64_t head_dim) { return 2 * block_bytes(type, head_dim) / kKeyBlock; }

KvCache::KvCache(const ModelConfig& config, int64_t capacity, KvType type)
    : type_(type), capacity_(capacity), layers_(config.layers), kv_heads_(config.kv_heads) {
  if (type == KvType::Q8_0 && config.head_dim % kKvScaled != 0) {
    fail("a cache of type q8_0 needs heads of whole blocks of {}, and the model's have {}: take f16 (--cache-type)",
         kKvScaled, config.head_dim);
  }
  int64_t blocks = 0, head = 0;
  bool overflow = capacity < 0 || __builtin_add_overflow(capacity, kKeyBlock - 1, &blocks) ||
                  __builtin_mul_overflow(blocks / kKeyBlock, block_bytes(type, config.head_dim), &head);
  int64_t bytes = head;
  for (const int64_t factor : {int64_t{2}, layers_, kv_heads_}) {
    overflow = overflow || __builtin_mul_overflow(bytes, factor, &bytes);
  }
  // Not value-initialized: pages that no position has reached stay untouched.
  if (!overflow) data_.reset(new (std::nothrow) std::byte[static_cast<size_t>(bytes)]);
  if (!data_) fail("no memory for a context of {} tokens: ask for a shorter one (-c)", capacity);
  head_bytes_ = static_cast<uint64_t>(head);
  bytes_ = static_cast<uint64_t>(bytes);
}

void KvCache::repeat(int64_t size, ThreadPool& pool) {
  const int64_t copies = (size - 1) / size_;
  const uint64_t position = head_bytes_ / static_cast<uint64_t>((capacity_ + kKeyBlock - 1) / kKeyBlock * kKeyBlock);
  // By all threads, as positions are written: memory is near who writes to it first.
  pool.run(copies, [&](int64_t copy, int) {
    const int64_t at = (copy + 1) * size_;
    const int64_t count = std::min(size_, (size - at + kKeyBlock - 1) / kKeyBlock * kKeyBlock);
    for (int64_t head = 0; head < 2 * layers_ * kv_heads_; ++head) {
      std::byte* begin = data_.get() + static_cast<uint64_t>(head) * head_bytes_;
      std::memcpy(begin + static_cast<uint64_t>(at) * position, begin, static_cast<uint64_t>(count) * position);
    }
  });
  size_ = std::max(size, size_);
}

}  // namespace lowbit
