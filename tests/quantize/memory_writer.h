// A file that is none.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "container/tensor_store.h"

namespace lowbit {

/// Keeps what a target writes.
class MemoryWriter : public TensorWriter {
 public:
  void write(size_t tensor, uint64_t, std::span<const std::byte> bytes) override {
    tensors[tensor].assign(bytes.begin(), bytes.end());
  }
  void finish() override {}
  std::map<size_t, std::vector<std::byte>> tensors;
};

}  // namespace lowbit
