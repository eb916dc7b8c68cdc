#include "text/pre_tokenizer.h"

#include "base/error.h"
#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

enum class Behaviour { Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous };

Behaviour behaviour_of(const std::string& name, const std::string& where) {
  if (name == "Isolated") return Behaviour::Isolated;
  if (name == "Removed") return Behaviour::Removed;
  if (name == "MergedWithPrevious") return Behaviour::MergedWithPrevious;
  if (name == "MergedWithNext") return Behaviour::MergedWithNext;
  if (name == "Contiguous") return Behaviour::Contiguous;
  fail("{}: pre_tokenizer: the behavior \"{}\" is not known", where, name);
}

struct Part {
  Span span;
  bool match = false;
};

// The parts of one piece, matches and what lies between them, joined as the behaviour says.
void join(std::vector<Part>& parts, Behaviour behaviour, std::vector<Span>& out) {
  const auto put = [&](Span span) {
    if (span.end > span.begin) out.push_back(span);
  };
  bool previous = false;
  switch (behaviour) {
    case Behaviour::Isolated:
      for (const Part& part : parts) put(part.span);
      return;
    case Behaviour::Removed:
      for (const Part& part : parts)
        if (!part.match) put(part.span);
      return;
    case Behaviour::Contiguous:
    case Behaviour::MergedWithPrevious: {
      std::vector<Span> joined;
      for (const Part& part : parts) {
        const bool merge = behaviour == Behaviour::Contiguous ? part.match == previous : part.match && !previous;
        if (merge && !joined.empty()) {
          joined.back().end = part.span.end;
        } else {
          joined.push_back(part.span);
        }
        previous = part.match;
      }
      for (const Span& span : joined) put(span);
      return;
    }
    case Behaviour::MergedWithNext: {
      std::vector<Span> joined;
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->match && !previous && !joined.empty()) {
          joined.back().begin = part->span.begin;
        } else {
          joined.push_back(part->span);
        }
        previous = part->match;
      }
      for (auto span = joined.rbegin(); span != joined.rend(); ++span) put(*span);
      return;
    }
  }
}

class Split : public PreTokenizer {
 public:
  Split(Regex regex, Behaviour behaviour, bool invert)
      : regex_(std::move(regex)), behaviour_(behaviour), invert_(invert) {}

  void apply(Pieces& pieces) const override {
    std::vector<Span> out;
    std::vector<Part> parts;
    for (const Span& piece : pieces.spans) {
      parts.clear();
      size_t done = piece.begin;
      for (const Span& found :
           regex_.find_all(std::string_view(pieces.text).substr(piece.begin, piece.end - piece.begin))) {
        const Span match{piece.begin + found.begin, piece.begin + found.end};
        if (match.begin > done) parts.push_back({{done, match.begin}, invert_});
        parts.push_back({match, !invert_});
        done = match.end;
      }
      if (done < piece.end) parts.push_back({{done, piece.end}, invert_});
      join(parts, behaviour_, out);
    }
    pieces.spans = std::move(out);
  }

 private:
  Regex regex_;
  Behaviour behaviour_;
  bool invert_;
};

// Rewrites every piece; `edit(piece text, is first piece of the whole text)` gives its new text.
template <typename Edit>
void rewrite(Pieces& pieces, const Edit& edit) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 4);
  bool first = pieces.starts_text;
  for (Span& span : pieces.spans) {
    const size_t begin = text.size();
    edit(std::string_view(pieces.text).substr(span.begin, span.end - span.begin), first && span.begin == 0, text);
    span = {begin, text.size()};
    first = false;
  }
  pieces.text = std::move(text);
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex, const std::string& where) : add_prefix_space_(add_prefix_space) {
    if (use_regex)
      split_ = std::make_unique<Split>(
          Regex(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", where),
          Behaviour::Isolated, false);
  }

  void apply(Pieces& pieces) const override {
    if (add_prefix_space_)
      rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
        if (!piece.starts_with(' ')) out += ' ';
        out += piece;
      });
    if (split_) split_->apply(pieces);
    rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
      for (const char c : piece) out += byte_level_char(static_cast<unsigned char>(c));
    });
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<Split> split_;
};

// Spaces become the replacement (U+2581), one is put before the text, and a new piece begins at each.
class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { First, Never, Always };
  Metaspace(std::string replacement, Prepend prepend, bool split, const std::string& where)
      : replacement_(std::move(replacement)), prepend_(prepend) {
    if (split)
      split_ = std::make_unique<Split>(Regex(regex_escape(replacement_), where), Behaviour::MergedWithNext, false);
  }

  void apply(Pieces& pieces) const override {
    rewrite(pieces, [&](std::string_view piece, bool first, std::string& out) {
      const size_t begin = out.size();
      for (const char c : piece) {
        if (c == ' ') {
          out += replacement_;
        } else {
          out += c;
        }
      }
      const bool wanted = prepend_ == Prepend::Always || (prepend_ == Prepend::First && first);
      if (wanted && !std::string_view(out).substr(begin).starts_with(replacement_)) out.insert(begin, replacement_);
    });
    if (split_) split_->apply(pieces);
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  std::unique_ptr<Split> split_;
};

class Sequence : public PreTokenizer {
 public:
  Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps, std::string where)
      : steps_(std::move(steps)), where_(std::move(where)) {}
  void apply(Pieces& pieces) const override {
    const size_t most = most_text(pieces.text.size());
    for (const auto& step : steps_) {
      step->apply(pieces);
      if (pieces.text.size() > most) fail("{}: pre_tokenizer: Sequence makes a text too long", where_);
    }
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
  std::string where_;
};

std::unique_ptr<PreTokenizer> make_split(const Json& json, const std::string& where) {
  const auto pattern = json.find("pattern");
  if (pattern == json.end() || !pattern->is_object()) fail("{}: pre_tokenizer: Split has no pattern", where);
  const bool is_regex = pattern->contains("Regex");
  std::string expression = json_at<std::string>(*pattern, is_regex ? "Regex" : "String", where);
  if (!is_regex) {
    if (expression.empty()) fail("{}: pre_tokenizer: Split has an empty pattern", where);
    expression = regex_escape(expression);
  }
  return std::make_unique<Split>(Regex(expression, where),
                                 behaviour_of(json_at<std::string>(json, "behavior", where), where),
                                 json_or<bool>(json, "invert", false, where));
}

std::unique_ptr<PreTokenizer> make_metaspace(const Json& json, const std::string& where) {
  const std::string replacement = json_at<std::string>(json, "replacement", where);
  if (replacement.empty() || decode_utf8(replacement, 0).size != replacement.size())
    fail("{}: pre_tokenizer: Metaspace's replacement should be one character", where);
  // Before version 0.19 the scheme was a boolean.
  const std::string scheme = json_or<std::string>(
      json, "prepend_scheme", json_or<bool>(json, "add_prefix_space", true, where) ? "always" : "never", where);
  using Prepend = Metaspace::Prepend;
  if (scheme != "always" && scheme != "never" && scheme != "first")
    fail("{}: pre_tokenizer: the prepend_scheme \"{}\" is not known", where, scheme);
  const Prepend prepend = scheme == "always" ? Prepend::Always : scheme == "first" ? Prepend::First : Prepend::Never;
  return std::make_unique<Metaspace>(replacement, prepend, json_or<bool>(json, "split", true, where), where);
}

std::unique_ptr<PreTokenizer> make(const Json& json, const std::string& where, int depth) {
  if (depth > 8) fail("{}: pre_tokenizer: Sequences are nested too deep", where);
  const auto split = [&](std::string_view pattern, Behaviour behaviour, bool invert) {
    return std::make_unique<Split>(Regex(pattern, where), behaviour, invert);
  };
  const std::string type = json_at<std::string>(json, "type", where);
  if (type == "Sequence") {
    const auto steps = json.find("pretokenizers");
    if (steps == json.end() || !steps->is_array()) fail("{}: pre_tokenizer: Sequence has no pretokenizers", where);
    std::vector<std::unique_ptr<PreTokenizer>> made;
    for (const Json& step : *steps) made.push_back(make(step, where, depth + 1));
    return std::make_unique<Sequence>(std::move(made), where);
  }
  if (type == "Split") return make_split(json, where);
  if (type == "Metaspace") return make_metaspace(json, where);
  if (type == "ByteLevel")
    return std::make_unique<ByteLevel>(json_or<bool>(json, "add_prefix_space", true, where),
                                       json_or<bool>(json, "use_regex", true, where), where);
  if (type == "Digits")
    return split("\\p{N}",
                 json_or<bool>(json, "individual_digits", false, where) ? Behaviour::Isolated : Behaviour::Contiguous,
                 false);
  // Rust's \w, which holds the joiners as well.
  if (type == "Whitespace")
    return split("[\\w\\x{200C}\\x{200D}]+|[^\\w\\x{200C}\\x{200D}\\s]+", Behaviour::Removed, true);
  if (type == "WhitespaceSplit") return split("\\s", Behaviour::Removed, false);
  if (type == "Punctuation")
    return split("[\\p{P}!-/:-@\\[-`{-~]",
                 behaviour_of(json_or<std::string>(json, "behavior", "Isolated", where), where), false);
  if (type == "CharDelimiterSplit")
    return split(regex_escape(json_at<std::string>(json, "delimiter", where)), Behaviour::Removed, false);
  fail("{}: the pre_tokenizer \"{}\" is not supported", where, type);
}

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const std::string& where) {
  if (json.is_null()) return nullptr;
  return make(json, where, 0);
}

}  // namespace lowbit
