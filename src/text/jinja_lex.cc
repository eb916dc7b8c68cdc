#include "text/jinja_lex.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace lowbit::jinja {
namespace {

bool is_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {
    // Jinja drops one newline at the very end of a template.
    if (source_.ends_with('\n')) source_.remove_suffix(1);
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t open = find_open();
      add_text(open);
      if (open == source_.size()) break;
      const char kind = source_[open + 1];
      at_ = open + 2;
      if (kind == '#') {
        skip_comment();
      } else {
        lex_tag(kind == '%');
      }
    }
    tokens_.push_back({Token::Kind::End, "", line_});
    return std::move(tokens_);
  }

 private:
  size_t find_open() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '%' || source_[i + 1] == '{' || source_[i + 1] == '#')) return i;
    }
    return source_.size();
  }

  /// The text up to a tag, trimmed on both sides by what the tags around it ask.
  void add_text(size_t end) {
    std::string_view text = source_.substr(at_, end - at_);
    const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (trim_next_) {
      while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    } else if (drop_newline_) {
      if (text.starts_with("\r\n"))
        text.remove_prefix(2);
      else if (text.starts_with('\n'))
        text.remove_prefix(1);
    }
    const char sign = end + 2 < source_.size() ? source_[end + 2] : '\0';
    if (end < source_.size() && sign == '-') {
      while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    } else if (end < source_.size() && source_[end + 1] != '{' && sign != '+') {
      size_t keep = text.size();
      while (keep > 0 && (text[keep - 1] == ' ' || text[keep - 1] == '\t')) --keep;
      const bool starts_line =
          keep > 0 ? text[keep - 1] == '\n' : end - text.size() == 0 || source_[end - text.size() - 1] == '\n';
      if (starts_line) text = text.substr(0, keep);
    }
    if (!text.empty()) tokens_.push_back({Token::Kind::Text, std::string(text), line_});
    line_ += lines;
    trim_next_ = drop_newline_ = false;
  }

  void skip_comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) fail("chat template, line {}: a comment is not closed", line_);
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    trim_next_ = end > at_ && source_[end - 1] == '-';
    drop_newline_ = true;
    at_ = end + 2;
  }

  void lex_tag(bool block) {
    const int line = line_;
    tokens_.push_back({block ? Token::Kind::BeginBlock : Token::Kind::BeginOutput, "", line_});
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
    const std::string_view close = block ? "%}" : "}}";
    int depth = 0;  // of braces: a dict may end with the sign that closes an output
    for (;;) {
      while (at_ < source_.size() && is_space(source_[at_])) line_ += source_[at_++] == '\n' ? 1 : 0;
      if (at_ >= source_.size()) fail("chat template, line {}: a tag is not closed", line);
      const std::string_view rest = source_.substr(at_);
      if (depth == 0 &&
          (rest.starts_with(close) || ((rest[0] == '-' || rest[0] == '+') && rest.substr(1).starts_with(close)))) {
        trim_next_ = rest[0] == '-';
        drop_newline_ = block && rest[0] != '+';
        at_ += rest.starts_with(close) ? 2 : 3;
        break;
      }
      lex_word(rest, depth);
    }
    tokens_.push_back({block ? Token::Kind::EndBlock : Token::Kind::EndOutput, "", line_});
  }

  void lex_word(std::string_view rest, int& depth) {
    const char c = rest[0];
    size_t n = 1;
    if (c == '"' || c == '\'') return lex_string(c);
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      while (n < rest.size() &&
             (std::isdigit(static_cast<unsigned char>(rest[n])) != 0 ||
              (rest[n] == '.' && n + 1 < rest.size() && std::isdigit(static_cast<unsigned char>(rest[n + 1])) != 0)))
        ++n;
      tokens_.push_back({Token::Kind::Number, std::string(rest.substr(0, n)), line_});
    } else if (is_name(c)) {
      while (n < rest.size() && is_name(rest[n])) ++n;
      tokens_.push_back({Token::Kind::Name, std::string(rest.substr(0, n)), line_});
    } else {
      for (const char* two : {"==", "!=", "<=", ">=", "//", "**"}) {
        if (rest.starts_with(two)) n = 2;
      }
      if (n == 1 && std::string_view("+-*/%~|.,:()[]{}=<>").find(c) == std::string_view::npos) {
        fail("chat template, line {}: the sign {} means nothing", line_, c);
      }
      depth += c == '{' ? 1 : c == '}' ? -1 : 0;
      tokens_.push_back({Token::Kind::Operator, std::string(rest.substr(0, n)), line_});
    }
    at_ += n;
  }

  void lex_string(char quote) {
    std::string out;
    for (++at_;; ++at_) {
      if (at_ >= source_.size()) fail("chat template, line {}: a string is not closed", line_);
      char c = source_[at_];
      if (c == quote) break;
      if (c == '\n') ++line_;
      if (c == '\\' && at_ + 1 < source_.size()) {
        c = source_[++at_];
        const size_t which = std::string_view("ntr0").find(c);
        if (which != std::string_view::npos) c = "\n\t\r\0"[which];
      }
      out += c;
    }
    ++at_;
    tokens_.push_back({Token::Kind::String, out, line_});
  }

  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool trim_next_ = false, drop_newline_ = false;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view source) { return Lexer(source).run(); }

}  // namespace lowbit::jinja
