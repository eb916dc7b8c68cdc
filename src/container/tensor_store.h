// Tensors in files: what every container has in common.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "encoding/encoding.h"

namespace lowbit {

/// How a file asks for the inputs of a matrix to be rounded to 8 bits, as its other readers round them.
struct InputRounding {
  enum class Scales : uint8_t {
    Own,    ///< the file does not ask: on one scale a tile of columns
    Token,  ///< one scale a token (W8A8)
    Fixed,  ///< one scale that the file holds (static activations)
  } scales = Scales::Own;
  float scale = 0;  ///< Fixed: inputs become nearest(x / scale) within [-127, 127]
  /// Token: inputs of this magnitude and above are multiplied as they are (LLM.int8, arXiv 2208.07339). 0: none.
  float outlier = 0;
  bool operator==(const InputRounding&) const = default;
};

/// What a matrix is on disk that its directory keeps in pieces (codes, scales, zero points) and that the store presents
/// as one tensor: see quantized_store.h.
struct StoredAs {
  std::string format;  ///< for people: "gptq 4-bit, groups of 128"
  uint64_t bytes = 0;  ///< of the pieces
  /// Column c of the tensor's data is column column_order[c] of the weight; empty: as it is. read_rows() undoes it.
  std::vector<int32_t> column_order;
  InputRounding inputs;
  int64_t group = 0;  ///< neighbours in a row of the tensor's data that share a scale; 0: not known
};

struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;  ///< outermost first (torch's order); the last dimension is contiguous
  const Encoding* encoding = nullptr;
  uint64_t bytes = 0;                                ///< of data()
  std::shared_ptr<const StoredAs> stored = nullptr;  ///< nullptr: on disk as in memory

  uint64_t file_bytes() const { return stored ? stored->bytes : bytes; }
  std::span<const int32_t> column_order() const {
    return stored ? std::span<const int32_t>(stored->column_order) : std::span<const int32_t>();
  }
  int64_t elements() const;
  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const { return cols() == 0 ? 0 : elements() / cols(); }
};

/// Tensors of a model, read-only. Every size and offset has been checked against the file before a store exists.
class TensorStore {
 public:
  virtual ~TensorStore() = default;

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// nullptr if absent.
  const TensorInfo* find(std::string_view name) const;
  /// Throws Error that names the file and the tensor.
  const TensorInfo& at(std::string_view name) const;
  /// What messages call this store: the path the user gave.
  const std::string& where() const { return where_; }

  /// The mapped bytes. Touching them makes them resident; drop() undoes that.
  virtual std::span<const std::byte> data(const TensorInfo& tensor) const = 0;
  /// Copies a byte range of a tensor without making the mapping resident: for passes over a whole model.
  virtual void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const = 0;
  virtual void drop(const TensorInfo& tensor) const = 0;
  /// The files that the tensors are in.
  virtual std::vector<std::filesystem::path> files() const { return {}; }
  /// Says that data() of these tensors will be asked for, so that what must be computed is computed in parallel.
  virtual void prepare(std::span<const TensorInfo* const> tensors, ThreadPool& pool) const {
    static_cast<void>(tensors), static_cast<void>(pool);
  }

 protected:
  void add(TensorInfo tensor);  ///< throws Error on a repeated name
  size_t index_of(const TensorInfo& tensor) const;

  std::string where_;

 private:
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

/// A store whose tensors lie in mapped files, whatever their format.
class MappedStore : public TensorStore {
 public:
  std::span<const std::byte> data(const TensorInfo& tensor) const override;
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override;
  void drop(const TensorInfo& tensor) const override;
  std::vector<std::filesystem::path> files() const override;

 protected:
  size_t add_file(MappedFile file);  ///< its number, for add()
  /// Bytes [offset, offset + tensor.bytes) of file `file`, which the caller has checked to be there.
  void add(TensorInfo tensor, size_t file, uint64_t offset);

 private:
  struct Place {
    size_t file;
    uint64_t offset;
  };
  std::vector<MappedFile> files_;
  std::vector<Place> places_;  // by the tensor's index
};

/// Tensors being written: their shapes are known before the first byte, so the header goes first and each tensor is
/// written as it becomes ready, in any order and piecewise. Nothing is under the final name before finish().
class TensorWriter {
 public:
  virtual ~TensorWriter() = default;
  /// Bytes [offset, offset + bytes.size()) of the tensor with this index in the plan. Thread-safe for disjoint ranges.
  virtual void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void finish() = 0;
};

/// Where a writer's tensors go; counts the bytes that came, so that a file with a hole is never finished.
class TensorSlots {
 public:
  void add(std::string name, uint64_t offset, uint64_t bytes);
  /// The place in the file of bytes [offset, offset + count) of a tensor; throws Error if the tensor is not that long.
  uint64_t place(size_t tensor, uint64_t offset, uint64_t count);
  /// Throws Error if fewer or more bytes came than the tensors have.
  void check_complete(std::string_view where) const;
  uint64_t total_bytes() const { return total_; }

 private:
  struct Slot {
    std::string name;
    uint64_t offset, bytes;
  };
  std::vector<Slot> slots_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> written_ = 0;
};

/// Puts columns back where they belong: row[column_order[c]] = row[c] for each of `count` rows. Nothing to do if empty.
void restore_columns(std::span<const int32_t> column_order, int64_t count, float* rows);

/// Decodes rows [begin, begin + count) of a Float or Block tensor to binary32: out[count * tensor.cols()]. Reads with
/// read(), so nothing becomes resident. Throws Error on a Raw tensor or on rows that do not exist.
void read_rows(const TensorStore& store, const TensorInfo& tensor, int64_t begin, int64_t count, float* out);

}  // namespace lowbit
