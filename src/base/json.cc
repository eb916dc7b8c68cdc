#include "base/json.h"

#include <algorithm>
#include <type_traits>

#include "base/error.h"

namespace lowbit {
namespace {

template <typename T>
constexpr const char* kind() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, int64_t>) return "an integer";
  if constexpr (std::is_same_v<T, double>) return "a number";
  return "a string";
}

template <typename T>
bool fits(const Json& value) {
  if constexpr (std::is_same_v<T, bool>) return value.is_boolean();
  if constexpr (std::is_same_v<T, int64_t>) {
    const bool too_large = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    return value.is_number_integer() && !too_large;
  }
  if constexpr (std::is_same_v<T, double>) return value.is_number();
  return value.is_string();
}

/// The deepest nesting of brackets outside strings.
size_t nesting(std::string_view text) {
  size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

/// The library's message without its own prefix, and without what it read last, which may be long.
std::string_view reason(std::string_view message) {
  if (const size_t prefix = message.find("] "); message.starts_with('[') && prefix != std::string_view::npos) {
    message.remove_prefix(prefix + 2);
  }
  return message.substr(0, message.find("; last read")).substr(0, 200);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  constexpr size_t kDeepest = 200;
  if (nesting(text) > kDeepest) fail("{}: is not acceptable JSON: nested more than {} deep", where, kDeepest);
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    fail("{}: is not valid JSON: {}", where, reason(e.what()));
  }
}

template <typename T>
T json_or(const Json& object, const std::string& key, T otherwise, std::string_view where) {
  if (!object.is_object()) fail("{}: should be a JSON object", where);
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return otherwise;
  if (!fits<T>(*found)) fail("{}: \"{}\" should be {}", where, key, kind<T>());
  return found->template get<T>();
}

template <typename T>
T json_at(const Json& object, const std::string& key, std::string_view where) {
  if (!object.is_object()) fail("{}: should be a JSON object", where);
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) fail("{}: \"{}\" is missing", where, key);
  return json_or<T>(object, key, T{}, where);
}

template bool json_or(const Json&, const std::string&, bool, std::string_view);
template int64_t json_or(const Json&, const std::string&, int64_t, std::string_view);
template double json_or(const Json&, const std::string&, double, std::string_view);
template std::string json_or(const Json&, const std::string&, std::string, std::string_view);
template bool json_at(const Json&, const std::string&, std::string_view);
template int64_t json_at(const Json&, const std::string&, std::string_view);
template double json_at(const Json&, const std::string&, std::string_view);
template std::string json_at(const Json&, const std::string&, std::string_view);

}  // namespace lowbit
