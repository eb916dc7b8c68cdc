#include "text/pre_tokenizer.h"

#include "base/error.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace lowbit {
namespace {

const std::string kWhere = "tokenizer.json, pre_tokenizer";

/// GPT-2's own split, which ByteLevel does unless told not to.
constexpr const char* kGpt2 = R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Span {
  size_t begin, end;
  bool match;
};

/// The text as matches and what lies between them, without gaps.
std::vector<Span> find_spans(const Regex& regex, std::string_view text, bool invert) {
  std::vector<Span> spans;
  size_t at = 0;
  for (size_t from = 0; from <= text.size();) {
    const Regex::Match m = regex.find(text, from);
    if (!m.found) break;
    if (m.begin == m.end) {  // an empty match separates nothing
      if (m.end >= text.size()) break;
      from = m.end;
      next_char(text, from);
      continue;
    }
    if (m.begin > at) spans.push_back({at, m.begin, invert});
    spans.push_back({m.begin, m.end, !invert});
    at = from = m.end;
  }
  if (at < text.size()) spans.push_back({at, text.size(), invert});
  return spans;
}

enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

Behavior behavior_named(const std::string& name) {
  if (name == "Removed") return Behavior::Removed;
  if (name == "Isolated") return Behavior::Isolated;
  if (name == "MergedWithPrevious") return Behavior::MergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::MergedWithNext;
  if (name == "Contiguous") return Behavior::Contiguous;
  fail("{}: the behavior {} is not known", kWhere, name);
}

std::vector<Span> arrange(std::vector<Span> spans, Behavior behavior) {
  std::vector<Span> out;
  switch (behavior) {
    case Behavior::Isolated:
      return spans;
    case Behavior::Removed:
      for (const Span& s : spans) {
        if (!s.match) out.push_back(s);
      }
      return out;
    case Behavior::Contiguous:
      for (const Span& s : spans) {
        if (!out.empty() && out.back().match == s.match) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
      }
      return out;
    case Behavior::MergedWithPrevious: {
      bool after_match = false;
      for (const Span& s : spans) {
        if (s.match && !after_match && !out.empty()) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        after_match = s.match;
      }
      return out;
    }
    case Behavior::MergedWithNext: {
      bool before_match = false;
      for (size_t i = spans.size(); i-- > 0;) {
        if (spans[i].match && !before_match && !out.empty()) {
          out.back().begin = spans[i].begin;
        } else {
          out.push_back(spans[i]);
        }
        before_match = spans[i].match;
      }
      return {out.rbegin(), out.rend()};
    }
  }
  return out;
}

void split_all(std::vector<Piece>& pieces, const Regex& regex, Behavior behavior, bool invert) {
  std::vector<Piece> out;
  for (const Piece& piece : pieces) {
    for (const Span& s : arrange(find_spans(regex, piece.text, invert), behavior)) {
      out.push_back({piece.text.substr(s.begin, s.end - s.begin), piece.first && s.begin == 0});
    }
  }
  pieces = std::move(out);
}

std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0) out += '\\';
    out += c;
  }
  return out;
}

std::string spelled(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += byte_spellings()[static_cast<unsigned char>(c)];
  return out;
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& description) {
  if (!description.is_null()) add(description);
}

void PreTokenizer::add(const Json& d) {
  const auto type = json_at<std::string>(d, "type", kWhere);
  const auto add_split = [this](const std::string& pattern, Behavior behavior, bool invert) {
    auto regex = std::make_shared<Regex>(pattern);
    steps_.emplace_back([regex, behavior, invert](std::vector<Piece>& p) { split_all(p, *regex, behavior, invert); });
  };
  if (type == "Sequence") {
    const auto list = d.find("pretokenizers");
    if (list == d.end() || !list->is_array()) fail("{}: \"pretokenizers\" should be a list", kWhere);
    for (const Json& item : *list) add(item);
  } else if (type == "Split") {
    const auto pattern = d.find("pattern");
    if (pattern == d.end() || !pattern->is_object()) fail("{}: \"pattern\" of Split is missing", kWhere);
    const std::string text = pattern->contains("String") ? quoted(json_at<std::string>(*pattern, "String", kWhere))
                                                         : json_at<std::string>(*pattern, "Regex", kWhere);
    if (text.empty()) fail("{}: Split has an empty pattern", kWhere);
    add_split(text, behavior_named(json_at<std::string>(d, "behavior", kWhere)),
              json_or<bool>(d, "invert", false, kWhere));
  } else if (type == "Digits") {
    const bool single = json_or<bool>(d, "individual_digits", false, kWhere);
    add_split(R"(\p{N})", single ? Behavior::Isolated : Behavior::Contiguous, false);
  } else if (type == "Punctuation") {
    add_split(R"([\p{P}!-/:-@\[-`{-~])", behavior_named(json_or<std::string>(d, "behavior", "Isolated", kWhere)),
              false);
  } else if (type == "Whitespace") {
    add_split(R"(\w+|[^\w\s]+)", Behavior::Removed, true);
  } else if (type == "WhitespaceSplit") {
    add_split(R"(\s)", Behavior::Removed, false);
  } else if (type == "ByteLevel") {
    if (json_or<bool>(d, "add_prefix_space", true, kWhere)) {
      steps_.emplace_back([](std::vector<Piece>& pieces) {
        for (Piece& p : pieces) {
          if (!p.text.starts_with(' ')) p.text.insert(0, 1, ' ');
        }
      });
    }
    if (json_or<bool>(d, "use_regex", true, kWhere)) add_split(kGpt2, Behavior::Isolated, false);
    steps_.emplace_back([](std::vector<Piece>& pieces) {
      for (Piece& p : pieces) p.text = spelled(p.text);
    });
    byte_level_ = true;
  } else if (type == "Metaspace") {
    const auto mark = json_or<std::string>(d, "replacement", std::string(kSpaceMark), kWhere);
    const bool prefix = json_or<bool>(d, "add_prefix_space", true, kWhere);
    const auto scheme = json_or<std::string>(d, "prepend_scheme", prefix ? "always" : "never", kWhere);
    steps_.emplace_back([mark, scheme](std::vector<Piece>& pieces) {
      for (Piece& p : pieces) {
        std::string out;
        for (const char c : p.text) c == ' ' ? out.append(mark) : out.append(1, c);
        if ((scheme == "always" || (scheme == "first" && p.first)) && !out.starts_with(mark)) out.insert(0, mark);
        p.text = std::move(out);
      }
    });
    if (json_or<bool>(d, "split", true, kWhere)) add_split(quoted(mark), Behavior::MergedWithNext, false);
  } else {
    fail("{}: {} is not supported, and without it the token ids would be wrong", kWhere, type);
  }
}

void PreTokenizer::split(std::vector<Piece>& pieces) const {
  for (const Step& step : steps_) step(pieces);
}

}  // namespace lowbit
