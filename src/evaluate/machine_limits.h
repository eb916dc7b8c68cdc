// What this machine can do at best, measured beside the speeds that are held against it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/thread_pool.h"

namespace lowbit {

/// The limits of all threads of a pool together, in the instruction set that kernels() picked. The best of several
/// measurements: other programs can only take away from it.
class MachineLimits {
 public:
  explicit MachineLimits(ThreadPool& pool);

  /// Measures again, about a third of a second, and keeps what is better.
  void measure();

  double read_bytes() const { return read_bytes_; }  ///< bytes a second read from memory, in streams
  // 0 where it cannot be measured:
  double code_operations() const { return code_operations_; }    ///< a second on 8-bit integers, 2 a product
  double float_operations() const { return float_operations_; }  ///< a second in binary32, 2 a product
  double bf16_operations() const { return bf16_operations_; }    ///< a second on BF16; also 0 where nothing uses it

 private:
  void measure_reading();
  double arithmetic(int64_t (*peak)(int64_t)) const;

  ThreadPool& pool_;
  struct Free {
    void operator()(uint64_t* p) const;
  };
  std::unique_ptr<uint64_t, Free> memory_;
  double read_bytes_ = 0, code_operations_ = 0, float_operations_ = 0, bf16_operations_ = 0;
};

}  // namespace lowbit
