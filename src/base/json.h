// JSON from strangers: parsed with a message that names the file, read with a message that names the field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/indexed_map.h"

namespace lowbit {

/// Key order is kept, so that what is written can be compared as text.
using Json = nlohmann::basic_json<IndexedMap>;

/// Parses a whole text. `where` (a file name) opens the message of the Error thrown for bad syntax or UTF-8, and for
/// nesting so deep that functions which follow it would exhaust the stack.
Json parse_json(std::string_view text, std::string_view where);

/// The member `key` of an object as T, or `otherwise` if it is absent or null. Throws Error on another type.
template <typename T>
T json_or(const Json& object, const std::string& key, T otherwise, std::string_view where);

/// The member `key` of an object as T. Throws Error if it is absent, null or of another type.
template <typename T>
T json_at(const Json& object, const std::string& key, std::string_view where);

extern template bool json_or(const Json&, const std::string&, bool, std::string_view);
extern template int64_t json_or(const Json&, const std::string&, int64_t, std::string_view);
extern template double json_or(const Json&, const std::string&, double, std::string_view);
extern template std::string json_or(const Json&, const std::string&, std::string, std::string_view);
extern template bool json_at(const Json&, const std::string&, std::string_view);
extern template int64_t json_at(const Json&, const std::string&, std::string_view);
extern template double json_at(const Json&, const std::string&, std::string_view);
extern template std::string json_at(const Json&, const std::string&, std::string_view);

}  // namespace lowbit
