// The header of one GGUF file, from bytes to structure. Apart from the store, so that it can be fuzzed.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "container/gguf_metadata.h"
#include "container/tensor_store.h"

namespace lowbit {

struct GgufTensor {
  TensorInfo info;
  uint64_t offset = 0;  ///< of its first byte in the file; the whole tensor is inside the file
};

struct GgufContents {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  ///< in file order; they do not overlap
};

/// Parses versions 2 and 3. `file` is the whole file (or a mapping of it); only the header is touched. Work and memory
/// are bounded by a small multiple of the file's size. Throws Error for anything unsound.
GgufContents parse_gguf(std::span<const std::byte> file, const std::string& where);

}  // namespace lowbit
