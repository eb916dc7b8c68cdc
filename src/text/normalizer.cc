#include <utf8proc.h>

#include <cstdlib>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace lowbit {
namespace {

const std::string kWhere = "tokenizer.json, normalizer";

std::string unicode_form(const std::string& text, int options) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  if (n < 0) fail("tokenizer: Unicode normalization failed: {}", utf8proc_errmsg(n));
  std::string result(reinterpret_cast<const char*>(out), static_cast<size_t>(n));
  std::free(out);
  return result;
}

std::string replace_all(const std::string& text, const std::string& what, const std::string& with) {
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text.find(what, at)) != std::string::npos; at = found + what.size()) {
    out.append(text, at, found - at).append(with);
  }
  return out.append(text, at);
}

std::string replace_matches(const std::string& text, const Regex& regex, const std::string& with) {
  std::string out;
  size_t at = 0;
  for (size_t from = 0; from <= text.size();) {
    const Regex::Match m = regex.find(text, from);
    if (!m.found) break;
    out.append(text, at, m.begin - at).append(with);
    at = m.end;
    from = m.end > m.begin ? m.end : m.end + 1;
  }
  return out.append(text, at);
}

bool is_space(char32_t c) {
  const utf8proc_category_t k = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return (c >= 9 && c <= 13) || c == 0x85 || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL ||
         k == UTF8PROC_CATEGORY_ZP;
}

std::string strip(const std::string& text, bool left, bool right) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    if (!is_space(next_char(text, at))) {
      begin = std::min(begin, start);
      end = at;
    }
  }
  if (end == 0) return left || right ? "" : text;
  const size_t from = left ? begin : 0, to = right ? end : text.size();
  return text.substr(from, to - from);
}

std::string lowercase(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_char(text, at);
    if (c == 0x130) {
      out += "i\xcc\x87";  // the one character whose lower case is two
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return out;
}

std::string strip_accents(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_char(text, at);
    if (utf8proc_category(static_cast<utf8proc_int32_t>(c)) != UTF8PROC_CATEGORY_MN) append_utf8(out, c);
  }
  return out;
}

}  // namespace

Normalizer::Normalizer(const Json& description) {
  if (!description.is_null()) add(description);
}

void Normalizer::add(const Json& d) {
  const auto type = json_at<std::string>(d, "type", kWhere);
  if (type == "Sequence") {
    const auto list = d.find("normalizers");
    if (list == d.end() || !list->is_array()) fail("{}: \"normalizers\" should be a list", kWhere);
    for (const Json& item : *list) add(item);
  } else if (type == "NFC") {
    steps_.emplace_back([](std::string t) { return unicode_form(t, UTF8PROC_COMPOSE); });
  } else if (type == "NFD") {
    steps_.emplace_back([](std::string t) { return unicode_form(t, UTF8PROC_DECOMPOSE); });
  } else if (type == "NFKC") {
    steps_.emplace_back([](std::string t) { return unicode_form(t, UTF8PROC_COMPOSE | UTF8PROC_COMPAT); });
  } else if (type == "NFKD") {
    steps_.emplace_back([](std::string t) { return unicode_form(t, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT); });
  } else if (type == "Lowercase") {
    steps_.emplace_back([](std::string t) { return lowercase(t); });
  } else if (type == "StripAccents") {
    steps_.emplace_back([](std::string t) { return strip_accents(t); });
  } else if (type == "Strip") {
    const bool left = json_or<bool>(d, "strip_left", true, kWhere),
               right = json_or<bool>(d, "strip_right", true, kWhere);
    steps_.emplace_back([left, right](std::string t) { return strip(t, left, right); });
  } else if (type == "Prepend") {
    steps_.emplace_back(
        [prefix = json_at<std::string>(d, "prepend", kWhere)](std::string t) { return t.empty() ? t : prefix + t; });
  } else if (type == "Replace") {
    const auto pattern = d.find("pattern");
    const auto with = json_at<std::string>(d, "content", kWhere);
    if (pattern == d.end() || !pattern->is_object()) fail("{}: \"pattern\" of Replace is missing", kWhere);
    if (pattern->contains("String")) {
      const auto what = json_at<std::string>(*pattern, "String", kWhere);
      if (what.empty()) fail("{}: Replace has an empty pattern", kWhere);
      steps_.emplace_back([what, with](std::string t) { return replace_all(t, what, with); });
    } else {
      auto regex = std::make_shared<Regex>(json_at<std::string>(*pattern, "Regex", kWhere));
      steps_.emplace_back([regex, with](std::string t) { return replace_matches(t, *regex, with); });
    }
  } else {
    fail("{}: {} is not supported, and without it the token ids would be wrong", kWhere, type);
  }
}

std::string Normalizer::apply(std::string text) const {
  for (const Step& step : steps_) text = step(std::move(text));
  return text;
}

}  // namespace lowbit
