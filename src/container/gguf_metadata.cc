#include "container/gguf_metadata.h"

#include <limits>
#include <type_traits>

#include "base/error.h"

namespace lowbit {
namespace {

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

[[noreturn]] void fail_type(const GgufMetadata& metadata, std::string_view key, std::string_view wanted) {
  fail("{}: metadata key {} should be {}; the file is corrupt or made for another program", metadata.where, key,
       wanted);
}

template <typename T>
int64_t to_int(const GgufMetadata& metadata, std::string_view key, T value) {
  if (!std::in_range<int64_t>(value)) fail_type(metadata, key, "an integer below 2^63");
  return static_cast<int64_t>(value);
}

int64_t to_int(const GgufMetadata& metadata, std::string_view key, const GgufValue& value) {
  return std::visit(
      [&]<typename T>(const T& v) -> int64_t {
        if constexpr (kIsInteger<T>) return to_int(metadata, key, v);
        fail_type(metadata, key, "an integer");
      },
      value);
}

double to_float(const GgufMetadata& metadata, std::string_view key, const GgufValue& value) {
  return std::visit(
      [&]<typename T>(const T& v) -> double {
        if constexpr (kIsInteger<T> || std::is_floating_point_v<T>) return static_cast<double>(v);
        fail_type(metadata, key, "a number");
      },
      value);
}

const std::string& to_string(const GgufMetadata& metadata, std::string_view key, const GgufValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) fail_type(metadata, key, "a string");
  return *text;
}

const GgufValue& required(const GgufMetadata& metadata, std::string_view key) {
  const GgufValue* value = metadata.find(key);
  if (value == nullptr) fail("{}: metadata key {} is missing", metadata.where, key);
  return *value;
}

/// The array under `key`, or nullptr if the key is absent.
const GgufArray* find_array(const GgufMetadata& metadata, std::string_view key) {
  const GgufValue* value = metadata.find(key);
  if (value == nullptr) return nullptr;
  const auto* array = std::get_if<std::shared_ptr<GgufArray>>(value);
  if (array == nullptr || *array == nullptr) fail_type(metadata, key, "an array");
  return array->get();
}

}  // namespace

void GgufMetadata::set(std::string key, GgufValue value) {
  const auto [place, added] = index_.emplace(key, entries_.size());
  if (added) {
    entries_.emplace_back(std::move(key), std::move(value));
  } else {
    entries_[place->second].second = std::move(value);
  }
}

void GgufMetadata::erase(std::string_view key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return;
  const size_t at = found->second;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(at));
  index_.erase(found);
  for (auto& [name, place] : index_) place -= place > at ? 1 : 0;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

std::string GgufMetadata::string_at(std::string_view key) const { return to_string(*this, key, required(*this, key)); }

int64_t GgufMetadata::int_at(std::string_view key) const { return to_int(*this, key, required(*this, key)); }

double GgufMetadata::float_at(std::string_view key) const { return to_float(*this, key, required(*this, key)); }

std::string GgufMetadata::string_or(std::string_view key, std::string otherwise) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::move(otherwise) : to_string(*this, key, *value);
}

int64_t GgufMetadata::int_or(std::string_view key, int64_t otherwise) const {
  const GgufValue* value = find(key);
  return value == nullptr ? otherwise : to_int(*this, key, *value);
}

double GgufMetadata::float_or(std::string_view key, double otherwise) const {
  const GgufValue* value = find(key);
  return value == nullptr ? otherwise : to_float(*this, key, *value);
}

bool GgufMetadata::bool_or(std::string_view key, bool otherwise) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return otherwise;
  const bool* truth = std::get_if<bool>(value);
  if (truth == nullptr) fail_type(*this, key, "true or false");
  return *truth;
}

std::vector<std::string> GgufMetadata::strings_at(std::string_view key) const {
  const GgufArray* array = find_array(*this, key);
  if (array == nullptr) fail("{}: metadata key {} is missing", where, key);
  const auto* strings = std::get_if<std::vector<std::string>>(&array->items);
  if (strings == nullptr) fail_type(*this, key, "an array of strings");
  return *strings;
}

std::optional<std::vector<float>> GgufMetadata::floats(std::string_view key) const {
  const GgufArray* array = find_array(*this, key);
  if (array == nullptr) return std::nullopt;
  const auto* numbers = std::get_if<std::vector<float>>(&array->items);
  if (numbers == nullptr) fail_type(*this, key, "an array of binary32 numbers");
  return *numbers;
}

std::optional<std::vector<int64_t>> GgufMetadata::ints(std::string_view key) const {
  const GgufArray* array = find_array(*this, key);
  if (array == nullptr) return std::nullopt;
  return std::visit(
      [&]<typename T>(const std::vector<T>& items) -> std::vector<int64_t> {
        if constexpr (kIsInteger<T>) {
          std::vector<int64_t> out;
          out.reserve(items.size());
          for (const T item : items) out.push_back(to_int(*this, key, item));
          return out;
        }
        fail_type(*this, key, "an array of integers");
      },
      array->items);
}

}  // namespace lowbit
