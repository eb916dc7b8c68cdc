// What values are to Python, and Jinja's own filters and tests and Python's methods, as far as chat templates use them.
#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/error.h"
#include "text/jinja_eval.h"

namespace lowbit::jinja {
namespace {

/// As Python's json.dumps(ensure_ascii=False) writes it: spaces after colons and commas.
void write_json(const Json& v, int64_t indent, int64_t level, std::string& out) {
  const auto newline = [&](int64_t depth) {
    if (indent >= 0) out.append("\n").append(static_cast<size_t>(std::min<int64_t>(indent * depth, 1000)), ' ');
  };
  const char* const comma = indent >= 0 ? "," : ", ";
  if (v.is_array() || v.is_object()) {
    out += v.is_array() ? '[' : '{';
    bool first = true;
    for (auto item = v.begin(); item != v.end(); ++item) {
      if (!first) out += comma;
      first = false;
      newline(level + 1);
      if (v.is_object()) out += Json(item.key()).dump() + ": ";
      write_json(*item, indent, level + 1, out);
    }
    if (!first) newline(level);
    out += v.is_array() ? ']' : '}';
  } else {
    out += is_undefined(v) ? "null" : v.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

/// As Python's repr() writes it, for lists and dicts that are printed.
std::string represent(const Json& v) {
  if (v.is_string()) return "'" + v.get<std::string>() + "'";
  if (!v.is_array() && !v.is_object()) return to_text(v);
  std::string out = v.is_array() ? "[" : "{";
  for (auto item = v.begin(); item != v.end(); ++item) {
    if (item != v.begin()) out += ", ";
    if (v.is_object()) out += "'" + item.key() + "': ";
    out += represent(*item);
  }
  return out + (v.is_array() ? "]" : "}");
}

std::string strip(const std::string& text, const std::string& what, bool left, bool right) {
  size_t begin = 0, end = text.size();
  while (left && begin < end && what.find(text[begin]) != std::string::npos) ++begin;
  while (right && end > begin && what.find(text[end - 1]) != std::string::npos) --end;
  return text.substr(begin, end - begin);
}

std::string replaced(const std::string& text, const std::string& what, const std::string& with) {
  if (what.empty()) return text;
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text.find(what, at)) != std::string::npos; at = found + what.size()) {
    out.append(text, at, found - at).append(with);
  }
  return out.append(text, at);
}

std::string cased(std::string text, int (*change)(int)) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x80) c = static_cast<char>(change(static_cast<unsigned char>(c)));
  }
  return text;
}

std::string capitalized(const std::string& text, bool each_word) {
  std::string out = cased(text, std::tolower);
  bool start = true;
  for (char& c : out) {
    const bool letter = std::isalpha(static_cast<unsigned char>(c)) != 0;
    if (start && letter) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    start = each_word ? !letter : false;
  }
  return out;
}

Json split(const std::string& text, const Arguments& a) {
  const Json separator = a.get(0, "sep", nullptr), limit = a.get(1, "maxsplit", -1);
  int64_t most = limit.is_number_integer() ? limit.get<int64_t>() : -1;
  Json out = Json::array();
  if (!separator.is_string() || separator.get_ref<const std::string&>().empty()) {
    for (size_t at = 0; at < text.size();) {
      while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at])) != 0) ++at;
      const size_t begin = at;
      while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at])) == 0) ++at;
      if (at > begin) out.push_back(text.substr(begin, at - begin));
    }
    return out;
  }
  const auto& by = separator.get_ref<const std::string&>();
  size_t at = 0;
  for (size_t found; most-- != 0 && (found = text.find(by, at)) != std::string::npos; at = found + by.size()) {
    out.push_back(text.substr(at, found - at));
  }
  out.push_back(text.substr(at));
  return out;
}

int64_t length(const Json& v, int line) {
  if (v.is_array() || v.is_object()) return static_cast<int64_t>(v.size());
  if (is_undefined(v)) return 0;
  if (!v.is_string()) fail("chat template, line {}: this has no length", line);
  const auto& text = v.get_ref<const std::string&>();
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Json attribute_of(const Json& item, const Json& name) {
  return item.is_object() && name.is_string() && item.contains(name.get<std::string>()) ? item[name.get<std::string>()]
                                                                                        : undefined();
}

/// selectattr and rejectattr: items whose attribute passes a test (or is true).
Json select(const Json& list, const Arguments& a, bool wanted, int line) {
  Json out = Json::array();
  const Json name = a.get(0, "attribute", nullptr), test = a.get(1, "test", nullptr);
  Arguments rest;
  if (a.positional.size() > 2) rest.positional.assign(a.positional.begin() + 2, a.positional.end());
  for (const Json& item : list) {
    const Json v = attribute_of(item, name);
    const bool passes = test.is_string() ? apply_test(test, v, rest, line) : truth(v);
    if (passes == wanted) out.push_back(item);
  }
  return out;
}

Json map(const Json& list, const Arguments& a, int line) {
  Json out = Json::array();
  for (const Json& item : list) {
    out.push_back(a.named.contains("attribute") ? attribute_of(item, a.named["attribute"])
                                                : apply_filter(to_text(a.get(0, "filter", "")), item, {}, line));
  }
  return out;
}

Json items(const Json& dict) {
  Json out = Json::array();
  if (!dict.is_object()) return out;
  for (const auto& [key, value] : dict.items()) out.push_back(Json::array({key, value}));
  return out;
}

std::string join(const Json& list, const std::string& by) {
  std::string out;
  bool first = true;
  for (const Json& item : list) {
    if (!first) out += by;
    first = false;
    out += to_text(item);
  }
  return out;
}

constexpr const char* kSpaces = " \t\n\r\v\f";

Json string_method(const std::string& s, const std::string& name, const Arguments& a, int line) {
  const auto text = [&](size_t i, const char* key) { return to_text(a.get(i, key, "")); };
  const Json chars = a.get(0, "chars", nullptr);
  const std::string what = chars.is_string() ? chars.get<std::string>() : kSpaces;
  if (name == "strip") return strip(s, what, true, true);
  if (name == "lstrip") return strip(s, what, true, false);
  if (name == "rstrip") return strip(s, what, false, true);
  if (name == "split") return split(s, a);
  if (name == "startswith") return s.starts_with(text(0, "prefix"));
  if (name == "endswith") return s.ends_with(text(0, "suffix"));
  if (name == "upper") return cased(s, std::toupper);
  if (name == "lower") return cased(s, std::tolower);
  if (name == "title") return capitalized(s, true);
  if (name == "capitalize") return capitalized(s, false);
  if (name == "replace") return replaced(s, text(0, "old"), text(1, "new"));
  if (name == "join") return join(a.get(0, "iterable", Json::array()), s);
  if (name == "find") {
    const size_t at = s.find(text(0, "sub"));
    return at == std::string::npos ? Json(-1) : Json(at);
  }
  if (name == "count") {
    const std::string sub = text(0, "sub");
    int64_t n = 0;
    for (size_t at = 0; !sub.empty() && (at = s.find(sub, at)) != std::string::npos; at += sub.size()) ++n;
    return n;
  }
  if (name == "isdigit")
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  fail("chat template, line {}: strings have no method {} here", line, name);
}

}  // namespace

bool truth(const Json& v) {
  if (is_undefined(v) || v.is_null()) return false;
  if (v.is_boolean()) return v.get<bool>();
  if (v.is_number()) return v.get<double>() != 0;
  if (v.is_string()) return !v.get_ref<const std::string&>().empty();
  return !v.empty();
}

std::string to_text(const Json& v) {
  if (is_undefined(v)) return "";
  if (v.is_null()) return "None";
  if (v.is_boolean()) return v.get<bool>() ? "True" : "False";
  if (v.is_string()) return v.get<std::string>();
  if (v.is_array() || v.is_object()) return represent(v);
  return v.dump();
}

bool equal(const Json& a, const Json& b) {
  if (is_undefined(a) || is_undefined(b)) return is_undefined(a) && is_undefined(b);
  return a == b;
}

Json Arguments::get(size_t index, const char* name, Json otherwise) const {
  if (index < positional.size()) return positional[index];
  return named.contains(name) ? named[name] : otherwise;
}

Json apply_filter(const std::string& name, const Json& v, const Arguments& a, int line) {
  if (name == "trim") {
    const Json chars = a.get(0, "chars", nullptr);
    return strip(to_text(v), chars.is_string() ? chars.get<std::string>() : kSpaces, true, true);
  }
  if (name == "length" || name == "count") return length(v, line);
  if (name == "tojson") {
    const Json indent = a.get(0, "indent", nullptr);
    std::string out;
    write_json(v, indent.is_number_integer() ? std::clamp<int64_t>(indent.get<int64_t>(), 0, 16) : -1, 0, out);
    return out;
  }
  if (name == "default" || name == "d") {
    const bool also_false = truth(a.get(1, "boolean", false));
    return is_undefined(v) || (also_false && !truth(v)) ? a.get(0, "default_value", "") : v;
  }
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize" || name == "replace") {
    return string_method(to_text(v), name, a, line);
  }
  if (name == "string" || name == "safe" || name == "escape" || name == "e") return to_text(v);
  if (name == "int" || name == "float") {
    const double x = v.is_number() ? v.get<double>() : std::strtod(to_text(v).c_str(), nullptr);
    return name == "float" ? Json(x) : Json(static_cast<int64_t>(std::clamp(std::trunc(x), -9e15, 9e15)));
  }
  if (name == "join") return join(v, to_text(a.get(0, "d", "")));
  if (name == "items") return items(v);
  if (name == "list") return v.is_object() ? call_method(v, "keys", {}, line) : v;
  if (name == "first") return v.is_array() && !v.empty() ? v.front() : undefined();
  if (name == "last") return v.is_array() && !v.empty() ? v.back() : undefined();
  if (name == "reverse" && v.is_array()) {
    Json out = Json::array();
    for (size_t i = v.size(); i-- > 0;) out.push_back(v[i]);
    return out;
  }
  if (name == "selectattr") return select(v, a, true, line);
  if (name == "rejectattr") return select(v, a, false, line);
  if (name == "map") return map(v, a, line);
  if (name == "abs" && v.is_number_integer()) return std::abs(v.get<int64_t>());
  fail("chat template, line {}: the filter {} is not supported", line, name);
}

bool apply_test(const std::string& name, const Json& v, const Arguments& a, int line) {
  if (name == "defined") return !is_undefined(v);
  if (name == "undefined") return is_undefined(v);
  if (name == "none") return v.is_null();
  if (name == "string") return v.is_string();
  if (name == "number") return v.is_number();
  if (name == "integer") return v.is_number_integer();
  if (name == "float") return v.is_number_float();
  if (name == "boolean") return v.is_boolean();
  if (name == "true") return v.is_boolean() && v.get<bool>();
  if (name == "false") return v.is_boolean() && !v.get<bool>();
  if (name == "mapping") return v.is_object();
  if (name == "sequence" || name == "iterable") return v.is_array() || v.is_string() || v.is_object();
  if (name == "equalto" || name == "eq") return equal(v, a.get(0, "other", undefined()));
  if (name == "ne") return !equal(v, a.get(0, "other", undefined()));
  if (name == "in") {
    const Json list = a.get(0, "seq", Json::array());
    return std::any_of(list.begin(), list.end(), [&](const Json& item) { return equal(item, v); });
  }
  if (name == "odd" && v.is_number_integer()) return v.get<int64_t>() % 2 != 0;
  if (name == "even" && v.is_number_integer()) return v.get<int64_t>() % 2 == 0;
  fail("chat template, line {}: the test {} is not supported", line, name);
}

Json call_method(const Json& object, const std::string& name, const Arguments& a, int line) {
  if (object.is_string()) return string_method(object, name, a, line);
  if (object.is_object()) {
    if (name == "get") {
      const Json found = attribute_of(object, a.get(0, "key", nullptr));
      return is_undefined(found) ? a.get(1, "default", nullptr) : found;
    }
    if (name == "items") return items(object);
    Json out = Json::array();
    for (const auto& [key, value] : object.items()) out.push_back(name == "keys" ? Json(key) : value);
    if (name == "keys" || name == "values") return out;
  }
  if (is_undefined(object)) fail("chat template, line {}: .{}() is asked of something undefined", line, name);
  fail("chat template, line {}: the method {} is not supported", line, name);
}

}  // namespace lowbit::jinja
