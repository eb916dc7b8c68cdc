// The metadata of a GGUF file. (Specification: ggml/docs/gguf.md.)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

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

}  // namespace lowbit
