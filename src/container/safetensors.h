// safetensors, Hugging Face's container. (Specification: the README of huggingface/safetensors.)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "container/tensor_store.h"

namespace lowbit {

/// A model directory with model.safetensors or model.safetensors.index.json and its shards, or a single .safetensors
/// file or index. Tensors come in the order of the headers. Their bytes need not be aligned in memory.
class Safetensors : public MappedStore {
 public:
  /// Throws Error that names the file, the tensor and what to do, for anything that is not a whole, sound model.
  explicit Safetensors(const std::filesystem::path& path);

 private:
  void add_single(const std::filesystem::path& file);
  void add_shards(const std::filesystem::path& index);
};

class SafetensorsWriter : public TensorWriter {
 public:
  /// Writes model.safetensors into `folder` (made if absent), or shards of at most `shard_bytes` with their index; a
  /// tensor larger than that gets a shard of its own. TensorInfo::bytes of the plan is ignored: shape and encoding say
  /// it. Throws Error on encodings that safetensors has no dtype for, if the folder holds weights in the other layout
  /// (a reader could pick the wrong ones), and on a full disk.
  SafetensorsWriter(const std::filesystem::path& folder, const std::vector<TensorInfo>& tensors,
                    uint64_t shard_bytes = uint64_t{5} << 30);
  void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) override;
  /// Throws Error unless every byte of every tensor has been written. The index comes last, so that it never names a
  /// shard that is not there.
  void finish() override;

 private:
  std::filesystem::path folder_;
  std::string index_text_;  // empty: one file
  std::vector<std::unique_ptr<AtomicFile>> files_;
  std::vector<size_t> file_of_;  // by the tensor's index in the plan
  TensorSlots slots_;
};

}  // namespace lowbit
