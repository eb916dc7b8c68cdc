// GGUF version 3, llama.cpp's single-file container. (Specification: ggml/docs/gguf.md.)
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "base/file.h"
#include "container/tensor_store.h"

namespace lowbit {

struct GgufArray;
/// A metadata value; the alternatives are in GGUF's type order where it has one.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               std::shared_ptr<GgufArray>, uint64_t, int64_t, double>;
/// Elements are all of one type; an array of arrays is legal.
struct GgufArray {
  std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
               std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
               std::vector<std::string>, std::vector<std::shared_ptr<GgufArray>>, std::vector<uint64_t>,
               std::vector<int64_t>, std::vector<double>>
      items;
};

/// Metadata in file order; keys are unique, valid UTF-8. String values are bytes as found: some vocabularies hold
/// tokens that are not UTF-8.
class GgufMetadata {
 public:
  void set(std::string key, GgufValue value);  ///< replaces, or appends
  void erase(std::string_view key);
  const GgufValue* find(std::string_view key) const;
  const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }

  // Typed look-ups. Integers of any width and sign convert if the value fits. Throw Error (naming the file and the key)
  // on another type; the _or and optional forms give the alternative if the key is absent.
  std::string string_at(std::string_view key) const;
  int64_t int_at(std::string_view key) const;
  double float_at(std::string_view key) const;
  std::string string_or(std::string_view key, std::string otherwise) const;
  int64_t int_or(std::string_view key, int64_t otherwise) const;
  double float_or(std::string_view key, double otherwise) const;
  bool bool_or(std::string_view key, bool otherwise) const;
  std::vector<std::string> strings_at(std::string_view key) const;
  std::optional<std::vector<float>> floats(std::string_view key) const;
  std::optional<std::vector<int64_t>> ints(std::string_view key) const;

  std::string where;  ///< the file, for messages

 private:
  std::vector<std::pair<std::string, GgufValue>> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// ggml's number of a tensor type (-1: GGUF has none), and back (nullptr: a type that lowbit does not know).
int ggml_type(const Encoding& encoding);
const Encoding* encoding_of_ggml_type(int type);

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
