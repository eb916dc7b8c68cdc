#include "quantize/fingerprint.h"

#include <algorithm>

#include "base/hash.h"

namespace lowbit {
namespace {

constexpr uint64_t kPieces = 16, kPieceBytes = 4096;

}  // namespace

std::string fingerprint(const TensorStore& store) {
  std::vector<const TensorInfo*> tensors;
  for (const TensorInfo& tensor : store.tensors()) tensors.push_back(&tensor);
  std::ranges::sort(tensors, {}, &TensorInfo::name);
  Hash hash;
  std::vector<std::byte> piece;
  for (const TensorInfo* tensor : tensors) {
    hash.add(std::string_view(tensor->name));
    hash.add(tensor->encoding->name);
    for (const int64_t dim : tensor->shape) hash.add(std::as_bytes(std::span(&dim, 1)));
    const uint64_t count = tensor->bytes <= kPieces * kPieceBytes ? 1 : kPieces;
    const uint64_t size = count == 1 ? tensor->bytes : kPieceBytes;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t begin = count == 1 ? 0 : (tensor->bytes - size) * i / (count - 1);
      piece.resize(size);
      store.read(*tensor, begin, piece);
      hash.add(std::span<const std::byte>(piece));
    }
  }
  return "xxh3-sampled:" + hash.hex();
}

}  // namespace lowbit
