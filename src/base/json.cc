#include "base/json.h"

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
  if constexpr (std::is_same_v<T, int64_t>) return value.is_number_integer();
  if constexpr (std::is_same_v<T, double>) return value.is_number();
  return value.is_string();
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    fail("{}: is not valid JSON: {}", where, e.what());
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
