// GGUF version 3, llama.cpp's single-file container. (Specification: ggml/docs/gguf.md.)
#pragma once

#include "base/file.h"
#include "container/gguf_metadata.h"
#include "container/tensor_store.h"

namespace lowbit {

/// A GGUF file, or the first of several splits ("...-00001-of-0000N.gguf"; the others are found beside it).
class GgufFile : public MappedStore {
 public:
  /// Throws Error that names the file, the tensor or key, and what to do, for anything that is not a whole, sound file.
  explicit GgufFile(const std::filesystem::path& path);
  /// That of the first split, less the keys that tell of the splitting.
  const GgufMetadata& metadata() const { return metadata_; }

 private:
  GgufMetadata metadata_;
};

/// How a file is laid out: its whole header, and where each tensor's data begin. Throws Error as GgufWriter does.
struct GgufLayout {
  GgufLayout(const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors, const std::string& where);
  std::string header;
  std::vector<uint64_t> offsets;  ///< from the file's begin
  uint64_t file_bytes = 0;
};

class GgufWriter : public TensorWriter {
 public:
  /// Writes the whole header at once and reserves the disk space of all tensors. TensorInfo::bytes of the plan is
  /// ignored: shape and encoding say it. Throws Error on what stock readers refuse (names of 64 bytes or more, more
  /// than four dimensions, encodings without a ggml type), and on a full disk.
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors);
  void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) override;
  /// Throws Error unless every byte of every tensor has been written.
  void finish() override;
  uint64_t file_bytes() const { return file_bytes_; }

 private:
  AtomicFile file_;
  TensorSlots slots_;
  uint64_t file_bytes_ = 0;
};

}  // namespace lowbit
