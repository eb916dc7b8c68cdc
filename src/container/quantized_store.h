// A quantized Hugging Face directory as if its matrices were there: each module's pieces appear as one tensor,
// "MODULE.weight", in an encoding that there are kernels for.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "container/dialects/dialect.h"
#include "container/tensor_store.h"
#include "encoding/group_lower.h"

namespace lowbit {

class QuantizedStore : public TensorStore {
 public:
  /// Throws Error for modules whose pieces do not fit together.
  QuantizedStore(std::unique_ptr<TensorStore> pieces, std::unique_ptr<Dialect> dialect);

  std::span<const std::byte> data(const TensorInfo& tensor) const override;
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override;
  void drop(const TensorInfo& tensor) const override;
  std::vector<std::filesystem::path> files() const override { return pieces_->files(); }
  void prepare(std::span<const TensorInfo* const> tensors, ThreadPool& pool) const override;

  const Dialect& dialect() const { return *dialect_; }
  /// The numbers of a quantized matrix as they are stored; nullptr-named tensors (dense ones) throw std::logic_error.
  GroupMatrix matrix(const TensorInfo& tensor) const;

 private:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  struct Module {
    GroupModule module;
    Lowering lowering;
  };
  const Module* module_of(const TensorInfo& tensor) const;
  const TensorInfo& piece(const TensorInfo& tensor) const { return pieces_->at(tensor.name); }
  Bytes lower(const TensorInfo& tensor, const Module& module) const;
  Bytes lowered(const TensorInfo& tensor, const Module& module) const;

  std::unique_ptr<TensorStore> pieces_;
  std::unique_ptr<Dialect> dialect_;
  std::unordered_map<std::string, Module> modules_;  // by the name of the tensor

  // Lowered matrices: those that data() or prepare() gave out until drop(), and the last few that read() made.
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, Bytes> held_;
  mutable std::list<std::pair<std::string, Bytes>> recent_;
};

/// "gptq 4-bit, groups of 128, zero points"
std::string describe(std::string_view dialect, const GroupModule& module);

}  // namespace lowbit
