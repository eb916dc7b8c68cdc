// safetensors, Hugging Face's container. (Specification: the README of huggingface/safetensors.)
#pragma once

#include <map>

#include "base/file.h"
#include "container/tensor_store.h"

namespace lowbit {

/// A model directory with model.safetensors or model.safetensors.index.json and its shards, or a single .safetensors file.
class Safetensors : public TensorStore {
 public:
  explicit Safetensors(const std::filesystem::path& path);

  std::span<const std::byte> data(const TensorInfo& tensor) const override;
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override;
  void drop(const TensorInfo& tensor) const override;

 private:
  struct Place { size_t file; uint64_t offset; };
  void parse(const std::filesystem::path& path);
  std::vector<MappedFile> files_;
  std::vector<Place> places_;
};

class SafetensorsWriter : public TensorWriter {
 public:
  /// Writes model.safetensors into `folder`, or shards of at most `shard_bytes` with their index.
  SafetensorsWriter(const std::filesystem::path& folder, const std::vector<TensorInfo>& tensors,
                    uint64_t shard_bytes = uint64_t{5} << 30);
  void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) override;
  void finish() override;

 private:
  struct Place { size_t file; uint64_t offset; };
  std::vector<std::unique_ptr<AtomicFile>> files_;
  std::unique_ptr<AtomicFile> index_;
  std::vector<Place> places_;
};

}  // namespace lowbit
