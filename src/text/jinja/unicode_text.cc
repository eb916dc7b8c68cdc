#include "text/jinja/unicode_text.h"

#include <utf8proc.h>

#include <algorithm>

namespace lowbit::jinja {
namespace {

const utf8proc_uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

bool is_line_end(char32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

/// Splits at white space from the left, as str.split() does.
std::vector<std::string> split_at_space(std::string_view text, int64_t most) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (true) {
    size_t begin = at;
    while (at < text.size()) {  // skip white space
      begin = at;
      if (!is_space(next_code_point(text, at))) break;
      begin = at;
    }
    if (begin >= text.size()) return parts;
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.emplace_back(text.substr(begin));
      return parts;
    }
    size_t end = begin;
    at = begin;
    while (at < text.size()) {
      end = at;
      if (is_space(next_code_point(text, at))) break;
      end = at;
    }
    parts.emplace_back(text.substr(begin, end - begin));
  }
}

/// Simple case mapping of each letter, with the full mapping where it is one of the two common ones.
template <typename Simple>
std::string map_case(std::string_view text, bool to_upper, Simple simple, Context& context) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c < 0x80) {
      out += static_cast<char>(simple(static_cast<utf8proc_int32_t>(c)));
      continue;
    }
    if (to_upper && c == 0xdf) {
      out += "SS";
      continue;
    }
    const bool grows = c == 0x149 || c == 0x1f0 || c == 0x390 || c == 0x3b0 || c == 0x587 ||
                       (c >= 0x1e96 && c <= 0x1e9a) || (c >= 0x1f50 && c <= 0x1ffc) || (c >= 0xfb00 && c <= 0xfb17);
    const bool depends = c == 0x130 || c == 0x3a3;
    if (to_upper ? grows : depends) {
      context.error("{} of U+{:04X} is not supported", to_upper ? "upper" : "lower", static_cast<uint32_t>(c));
    }
    append_code_point(out, static_cast<char32_t>(simple(static_cast<utf8proc_int32_t>(c))));
  }
  context.charge(out.size());
  return out;
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    utf8proc_int32_t c = 0;
    const auto n = utf8proc_iterate(bytes_of(bytes.substr(at)), static_cast<utf8proc_ssize_t>(bytes.size() - at), &c);
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

void append_code_point(std::string& out, char32_t c) {
  utf8proc_uint8_t buffer[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), buffer);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(n));
}

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) {
    ++at;
    return first;
  }
  utf8proc_int32_t c = 0;
  const auto n = utf8proc_iterate(bytes_of(text) + at, static_cast<utf8proc_ssize_t>(text.size() - at), &c);
  at += n > 0 ? static_cast<size_t>(n) : 1;
  return n > 0 ? static_cast<char32_t>(c) : 0xfffd;
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> points;
  points.reserve(text.size());
  for (size_t at = 0; at < text.size();) points.push_back(next_code_point(text, at));
  return points;
}

std::string from_code_points(const std::vector<char32_t>& points) {
  std::string out;
  for (const char32_t c : points) append_code_point(out, c);
  return out;
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string code_point_at(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0; --index) next_code_point(text, at);
  const size_t begin = at;
  next_code_point(text, at);
  return std::string(text.substr(begin, at - begin));
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_digit(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND; }

std::string strip(std::string_view text, std::optional<std::string_view> chars, bool left, bool right) {
  std::vector<char32_t> set = chars ? code_points(*chars) : std::vector<char32_t>();
  std::sort(set.begin(), set.end());
  const auto strips = [&](char32_t c) { return chars ? std::binary_search(set.begin(), set.end(), c) : is_space(c); };
  while (left && !text.empty()) {
    size_t at = 0;
    if (!strips(next_code_point(text, at))) break;
    text.remove_prefix(at);
  }
  while (right && !text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && (text[begin] & 0xc0) == 0x80) --begin;
    size_t at = begin;
    if (!strips(next_code_point(text, at))) break;
    text = text.substr(0, begin);
  }
  return std::string(text);
}

std::string lower(std::string_view text, Context& context) { return map_case(text, false, utf8proc_tolower, context); }
std::string upper(std::string_view text, Context& context) { return map_case(text, true, utf8proc_toupper, context); }

std::string capitalize(std::string_view text, Context& context) {
  if (text.empty()) return "";
  size_t at = 0;
  const auto first = static_cast<utf8proc_int32_t>(next_code_point(text, at));
  std::string out;
  if (first == 0xdf) {
    out = "Ss";
  } else {
    append_code_point(out, static_cast<char32_t>(utf8proc_totitle(first)));
  }
  return out + lower(text.substr(at), context);
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends, Context& context) {
  std::vector<std::string> lines;
  const auto add = [&](std::string_view line) {
    context.charge(sizeof(std::string) + line.size());
    lines.emplace_back(line);
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text, at);
    if (!is_line_end(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    add(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) add(text.substr(begin));
  return lines;
}

std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator, int64_t most,
                               Context& context) {
  if (!separator) return split_at_space(text, most);
  context.search(text.size(), separator->size());
  std::vector<std::string> parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t at = text.find(*separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
  }
  parts.emplace_back(text);
  return parts;
}

std::vector<std::string> rsplit(std::string_view text, std::optional<std::string_view> separator, int64_t most,
                                Context& context) {
  std::vector<std::string> parts;
  if (!separator) {
    // From the right: reversed code points split from the left.
    std::vector<char32_t> points = code_points(text);
    std::reverse(points.begin(), points.end());
    parts = split_at_space(from_code_points(points), most);
    for (std::string& part : parts) {
      std::vector<char32_t> reversed = code_points(part);
      std::reverse(reversed.begin(), reversed.end());
      part = from_code_points(reversed);
    }
  } else {
    context.search(text.size(), separator->size());
    while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
      const size_t at = text.rfind(*separator);
      if (at == std::string_view::npos) break;
      parts.emplace_back(text.substr(at + separator->size()));
      text = text.substr(0, at);
    }
    parts.emplace_back(text);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most, Context& context) {
  context.search(text.size(), from.size());
  std::string out;
  int64_t done = 0;
  size_t at = 0;
  while (most < 0 || done < most) {
    const size_t found = from.empty() ? at : text.find(from, at);
    if (found == std::string_view::npos) break;
    context.charge(found - at + to.size());
    out += text.substr(at, found - at);
    out += to;
    ++done;
    at = found + from.size();
    if (!from.empty()) continue;
    if (at >= text.size()) return out;
    const size_t begin = at;
    next_code_point(text, at);
    out += text.substr(begin, at - begin);
  }
  context.charge(text.size() - at);
  out += text.substr(at);
  return out;
}

}  // namespace lowbit::jinja
