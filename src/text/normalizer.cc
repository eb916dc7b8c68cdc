#include "text/normalizer.h"

#include <utf8proc.h>

#include <memory>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace lowbit {

size_t most_text(size_t given) { return given * 64 + (size_t{1} << 20); }

namespace {

Normalizer unicode_form(int options) {
  return [options](std::string text) {
    utf8proc_uint8_t* raw = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                     &raw, static_cast<utf8proc_option_t>(options));
    const std::unique_ptr<utf8proc_uint8_t, decltype(&free)> mapped(raw, &free);
    if (size < 0) fail("Unicode normalization: {}", utf8proc_errmsg(size));
    return std::string(reinterpret_cast<const char*>(raw), static_cast<size_t>(size));
  };
}

// Maps every character on its own; `map(code, out)` appends what it becomes.
template <typename Map>
Normalizer each_character(Map map) {
  return [map](const std::string& text) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const Utf8Char c = decode_utf8(text, at);
      map(c.code, out);
      at += c.size;
    }
    return out;
  };
}

void lower(char32_t code, std::string& out) {
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  if (code == 0x130) append_utf8(out, 0x307);  // the one character whose small form is two
}

Normalizer make_strip(bool left, bool right) {
  return [left, right](const std::string& text) {
    size_t begin = text.size(), end = 0;
    for (size_t at = 0; at < text.size();) {
      const Utf8Char c = decode_utf8(text, at);
      if (!is_white_space(c.code)) {
        begin = std::min(begin, at);
        end = at + c.size;
      }
      at += c.size;
    }
    if (begin >= end) return left || right ? std::string() : text;
    if (!left) begin = 0;
    if (!right) end = text.size();
    return text.substr(begin, end - begin);
  };
}

Normalizer make_replace(const Json& json, const std::string& where) {
  const auto pattern = json.find("pattern");
  if (pattern == json.end() || !pattern->is_object()) fail("{}: normalizer: Replace has no pattern", where);
  const bool is_regex = pattern->contains("Regex");
  std::string expression = json_at<std::string>(*pattern, is_regex ? "Regex" : "String", where);
  if (!is_regex) {
    if (expression.empty()) fail("{}: normalizer: Replace has an empty pattern", where);
    expression = regex_escape(expression);
  }
  return [regex = Regex(expression, where), where,
          content = json_at<std::string>(json, "content", where)](const std::string& text) {
    std::string out;
    size_t done = 0;
    for (const Span& match : regex.find_all(text)) {
      out.append(text, done, match.begin - done);
      out += content;
      done = match.end;
      if (out.size() > most_text(text.size())) fail("{}: normalizer: Replace makes a text too long", where);
    }
    return out.append(text, done);
  };
}

Normalizer make(const Json& json, const std::string& where, int depth) {
  if (depth > 8) fail("{}: normalizer: Sequences are nested too deep", where);
  const std::string type = json_at<std::string>(json, "type", where);
  if (type == "Sequence") {
    const auto steps = json.find("normalizers");
    if (steps == json.end() || !steps->is_array()) fail("{}: normalizer: Sequence has no normalizers", where);
    std::vector<Normalizer> made;
    for (const Json& step : *steps) made.push_back(make(step, where, depth + 1));
    return [made, where](std::string text) {
      const size_t most = most_text(text.size());
      for (const Normalizer& step : made) {
        text = step(std::move(text));
        if (text.size() > most) fail("{}: normalizer: Sequence makes a text too long", where);
      }
      return text;
    };
  }
  if (type == "NFC") return unicode_form(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (type == "NFD") return unicode_form(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  if (type == "NFKC") return unicode_form(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  if (type == "NFKD") return unicode_form(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  if (type == "Lowercase") return each_character(lower);
  if (type == "StripAccents") {
    return each_character([](char32_t code, std::string& out) {
      const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
      const bool mark =
          category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
      if (!mark) append_utf8(out, code);
    });
  }
  if (type == "Strip")
    return make_strip(json_or<bool>(json, "strip_left", true, where), json_or<bool>(json, "strip_right", true, where));
  if (type == "Replace") return make_replace(json, where);
  if (type == "Prepend")
    return [prefix = json_at<std::string>(json, "prepend", where)](std::string text) {
      return text.empty() ? text : prefix + text;
    };
  if (type == "ByteLevel") return [](const std::string& text) { return to_byte_level(text); };
  fail("{}: the normalizer \"{}\" is not supported", where, type);
}

}  // namespace

Normalizer make_normalizer(const Json& json, const std::string& where) {
  if (json.is_null()) return nullptr;
  return make(json, where, 0);
}

}  // namespace lowbit
