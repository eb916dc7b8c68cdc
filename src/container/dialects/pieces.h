// What the dialects share: reading the pieces of a module with every shape checked, and fields of bits in words.
#pragma once

#include <fmt/core.h>

#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "container/dialects/dialect.h"

namespace lowbit::dialects {

/// The pieces of one module.
class Pieces {
 public:
  Pieces(const TensorStore& store, std::string module) : store_(store), module_(std::move(module)) {}

  const std::string& module() const { return module_; }
  std::string name(std::string_view piece) const { return module_ + "." + std::string(piece); }
  const TensorInfo* find(std::string_view piece) const { return store_.find(name(piece)); }
  /// Throws Error if it is missing or of another type than one of these.
  const TensorInfo& at(std::string_view piece, std::initializer_list<EncodingId> types) const;
  /// Throws Error unless the shape is this.
  const TensorInfo& at(std::string_view piece, std::initializer_list<EncodingId> types,
                       const std::vector<int64_t>& shape) const;

  std::vector<uint8_t> bytes(std::string_view piece) const;
  std::vector<uint32_t> words(std::string_view piece) const;  ///< of an I32 tensor
  std::vector<float> floats(std::string_view piece) const;    ///< of an F32, F16 or BF16 tensor; finite
  int64_t integer(std::string_view piece) const;              ///< a scalar of U8, I8, I32, I64 or F32 (whole)

  /// Throws Error that begins with the store's and the module's name.
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    refuse_text(fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  [[noreturn]] void refuse_text(const std::string& text) const;
  const TensorStore& store_;
  std::string module_;
};

/// The modules that have a tensor called "MODULE.piece", in the store's order.
std::vector<std::string> modules_with(const TensorStore& store, std::string_view piece);

/// Words that `count` fields of `bits` bits take, as one little-endian stream.
inline int64_t words_for(int64_t count, int bits) { return (count * bits + 31) / 32; }
/// Field i of a stream whose words lie `stride` apart.
inline uint32_t get_field(const uint32_t* words, int64_t stride, int64_t i, int bits) {
  const int64_t at = i * bits / 32;
  const int shift = static_cast<int>(i * bits % 32);
  uint32_t value = words[at * stride] >> shift;
  if (shift + bits > 32) value |= words[(at + 1) * stride] << (32 - shift);
  return value & ((1u << bits) - 1);
}
inline constexpr int64_t kFieldBatch = 32;  ///< fields that fill whole words, whatever their bits
/// Those that start at `words`: kFieldBatch bytes. `bits` is 1 to 8.
void get_batch(const uint32_t* words, int bits, uint8_t* out);
/// All fields of a stream of `count`.
void get_fields(const uint32_t* words, int64_t count, int bits, uint8_t* out);
/// Puts a field into a stream that is 0 there.
inline void put_field(uint32_t* words, int64_t stride, int64_t i, int bits, uint32_t value) {
  const int64_t at = i * bits / 32;
  const int shift = static_cast<int>(i * bits % 32);
  words[at * stride] |= value << shift;
  if (shift + bits > 32) words[(at + 1) * stride] |= value >> (32 - shift);
}

template <typename T>
std::vector<std::byte> as_bytes(const std::vector<T>& values) {
  std::vector<std::byte> out(values.size() * sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), values.data(), out.size());
  return out;
}
std::vector<std::byte> floats_as(EncodingId type, const std::vector<float>& values);

/// values[rows, cols] -> [cols, rows]
std::vector<float> transposed(const std::vector<float>& values, int64_t rows, int64_t cols);

/// Fills matrix.rows, cols and format from a module and makes room.
GroupMatrix empty_matrix(const GroupModule& module);

/// "group_size" as configs have it: -1 (or null) is a whole row, which is 0 here.
int64_t group_size(const Json& config, const std::string& key, int64_t otherwise, const std::string& where);
Json group_json(int64_t group);

// Readers, one a dialect.
std::unique_ptr<Dialect> read_gptq(const Json& config, const std::string& where);
std::unique_ptr<Dialect> read_awq(const Json& config, const std::string& where);
std::unique_ptr<Dialect> read_bitsandbytes(const Json& config, const std::string& where);
std::unique_ptr<Dialect> read_hqq(const Json& config, const std::string& where);
std::unique_ptr<Dialect> read_eetq(const Json& config, const std::string& where);
std::unique_ptr<Dialect> read_compressed_tensors(const Json& config, const std::string& where);

}  // namespace lowbit::dialects
