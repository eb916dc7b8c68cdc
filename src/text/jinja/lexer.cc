#include "text/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/context.h"
#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

using Kind = Token::Kind;

constexpr size_t kLongestName = 200;  // names are compared at every look-up

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_ascii_digit(c); }

/// Line ends become "\n"; one at the very end is dropped (keep_trailing_newline is off).
std::string normalize_lines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_lines(source)), rest_(source_) {}

  std::vector<Token> run() {
    while (!rest_.empty()) {
      const size_t tag = find_tag();
      const char kind = tag == std::string_view::npos ? '\0' : rest_[tag + 1];
      const char sign = kind && tag + 2 < rest_.size() ? rest_[tag + 2] : '\0';
      add_data(rest_.substr(0, tag), kind, sign);
      if (!kind) {
        advance(rest_.size());
        break;
      }
      advance(tag + 2 + (sign == '-' || sign == '+' ? 1 : 0));
      line_starting_ = false;
      if (kind == '#') {
        skip_comment();
      } else if (kind == '%' && is_raw()) {
        raw_block();
      } else {
        tag_tokens(kind == '%');
      }
    }
    tokens_.push_back({Kind::End, "", context_.line});
    return std::move(tokens_);
  }

 private:
  size_t find_tag() const {
    for (size_t at = rest_.find('{'); at != std::string_view::npos && at + 1 < rest_.size();
         at = rest_.find('{', at + 1)) {
      const char next = rest_[at + 1];
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string_view::npos;
  }

  /// Moves on, counting lines; remembers whether what was passed ended a line.
  void advance(size_t n) {
    if (n == 0) return;
    context_.line += static_cast<int>(std::count(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(n), '\n'));
    line_starting_ = rest_[n - 1] == '\n';
    rest_.remove_prefix(n);
  }

  void skip_space() {
    size_t at = 0;
    for (size_t next = 0; at < rest_.size(); at = next) {
      next = at;
      if (!is_space(next_code_point(rest_, next))) break;
    }
    advance(at);
  }

  /// The text before a tag, stripped as the tag's sign and lstrip_blocks say.
  void add_data(std::string_view data, char tag, char sign) {
    std::string text(data);
    if (tag && sign == '-') {
      text = strip(data, std::nullopt, false, true);
    } else if (tag && sign != '+' && tag != '{') {
      const size_t line_begin = data.rfind('\n') + 1;  // 0 if there is none
      if ((line_begin > 0 || line_starting_) && strip(data.substr(line_begin), std::nullopt, true, false).empty()) {
        text.resize(line_begin);
      }
    }
    if (!text.empty()) tokens_.push_back({Kind::Data, std::move(text), context_.line});
  }

  /// Passes the end of a tag: "-%}" takes all white space after it, "%}" of a block or comment one line end.
  bool take_end(std::string_view close, bool trims) {
    const bool minus = rest_.starts_with('-') && rest_.substr(1).starts_with(close);
    const bool plus = trims && rest_.starts_with('+') && rest_.substr(1).starts_with(close);
    if (!minus && !plus && !rest_.starts_with(close)) return false;
    advance(close.size() + (minus || plus ? 1 : 0));
    if (minus) {
      skip_space();
    } else if (!plus && trims && rest_.starts_with('\n')) {
      advance(1);
    }
    return true;
  }

  void skip_comment() {
    const int begin = context_.line;
    const size_t close = rest_.find("#}");
    if (close == std::string_view::npos) {
      context_.line = begin;
      context_.error("a comment is not closed");
    }
    const bool sign = close > 0 && (rest_[close - 1] == '-' || rest_[close - 1] == '+');
    advance(close - (sign ? 1 : 0));
    take_end("#}", true);
  }

  /// Whether "{% raw %}" stands here; if so it is passed.
  bool is_raw() {
    const std::string_view saved = rest_;
    const int line = context_.line;
    skip_space();
    if (rest_.starts_with("raw") && (rest_.size() == 3 || !is_name_part(rest_[3]))) {
      advance(3);
      skip_space();
      if (rest_.starts_with("-%}") || rest_.starts_with("%}")) {
        const bool minus = rest_[0] == '-';
        advance(minus ? 3 : 2);
        if (minus) skip_space();
        return true;
      }
    }
    rest_ = saved;
    context_.line = line;
    line_starting_ = false;
    return false;
  }

  void raw_block() {
    for (size_t at = rest_.find("{%"); at != std::string_view::npos; at = rest_.find("{%", at + 1)) {
      const char sign = at + 2 < rest_.size() ? rest_[at + 2] : '\0';
      std::string_view after = rest_.substr(at + 2 + (sign == '-' || sign == '+' ? 1 : 0));
      const size_t name = after.find_first_not_of(" \t\n");
      if (name == std::string_view::npos || !after.substr(name).starts_with("endraw")) continue;
      add_data(rest_.substr(0, at), '%', sign);
      advance(at + 2 + (sign == '-' || sign == '+' ? 1 : 0) + name + 6);
      skip_space();
      if (!take_end("%}", true)) context_.error("endraw is not closed");
      return;
    }
    context_.error("a raw block is not closed");
  }

  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), context_.line}); }

  void tag_tokens(bool block) {
    add(block ? Kind::BlockBegin : Kind::PrintBegin, "");
    const int begin = context_.line;
    std::string open;  // brackets: inside them the tag's end is not looked for
    while (true) {
      skip_space();
      if (rest_.empty()) {
        context_.line = begin;
        context_.error("a tag is not closed");
      }
      if (open.empty()) {
        const int line = context_.line;
        if (take_end(block ? "%}" : "}}", block)) {
          tokens_.push_back({block ? Kind::BlockEnd : Kind::PrintEnd, "", line});
          return;
        }
      }
      one_token(open);
    }
  }

  void one_token(std::string& open) {
    const char c = rest_[0];
    if (is_ascii_digit(c)) return number();
    if (is_name_start(c)) {
      size_t n = 1;
      while (n < rest_.size() && is_name_part(rest_[n])) ++n;
      if (n > kLongestName) context_.error("a name is longer than {} characters", kLongestName);
      add(Kind::Name, std::string(rest_.substr(0, n)));
      return advance(n);
    }
    if (c == '"' || c == '\'') return string(c);
    for (const std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!rest_.starts_with(op)) continue;
      add(Kind::Operator, std::string(op));
      return advance(2);
    }
    if (std::string_view("+-/*%~[](){}<>=.:|,").find(c) == std::string_view::npos) {
      context_.error("unexpected character '{}'", static_cast<unsigned char>(c) < 0x80 ? std::string(1, c) : "?");
    }
    balance(c, open);
    add(Kind::Operator, std::string(1, c));
    advance(1);
  }

  void balance(char c, std::string& open) {
    if (c == '(' || c == '[' || c == '{') {
      open += c;
    } else if (c == ')' || c == ']' || c == '}') {
      const char expected = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != expected) context_.error("unexpected '{}'", c);
      open.pop_back();
    }
  }

  /// Digits with single underscores between them, appended without the underscores; returns the length read.
  size_t digits(size_t at, std::string& out) const {
    const size_t begin = at;
    while (at < rest_.size()) {
      const bool joined = rest_[at] == '_' && at > begin && at + 1 < rest_.size() && is_ascii_digit(rest_[at + 1]);
      if (!joined && !is_ascii_digit(rest_[at])) break;
      if (!joined) out += rest_[at];
      ++at;
    }
    return at - begin;
  }

  void number() {
    std::string value;
    size_t n = digits(0, value);
    bool is_float = false;
    if (n + 1 < rest_.size() && rest_[n] == '.' && is_ascii_digit(rest_[n + 1])) {
      is_float = true;
      value += '.';
      n += 1 + digits(n + 1, value);
    }
    if (n < rest_.size() && (rest_[n] == 'e' || rest_[n] == 'E')) {
      const size_t sign = n + 1 < rest_.size() && (rest_[n + 1] == '+' || rest_[n + 1] == '-') ? 1 : 0;
      if (n + 1 + sign < rest_.size() && is_ascii_digit(rest_[n + 1 + sign])) {
        is_float = true;
        value += 'e';
        if (sign) value += rest_[n + 1];
        n += 1 + sign;
        n += digits(n, value);
      }
    }
    const bool odd = (n < rest_.size() && is_name_part(rest_[n])) || (!is_float && value.size() > 1 && value[0] == '0');
    if (odd) context_.error("this spelling of a number is not supported");
    add(is_float ? Kind::Float : Kind::Integer, std::move(value));
    advance(n);
  }

  void string(char quote) {
    size_t at = 1;
    while (at < rest_.size() && rest_[at] != quote) at += rest_[at] == '\\' ? 2 : 1;
    if (at >= rest_.size()) context_.error("a string is not closed");
    add(Kind::String, unescape(rest_.substr(1, at - 1)));
    advance(at + 1);
  }

  /// Python's escapes in a string literal.
  std::string unescape(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      if (text[at] != '\\') {
        out += text[at++];
        continue;
      }
      const char c = text[at + 1];
      at += 2;
      constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t simple = kFrom.find(c); simple != std::string_view::npos) {
        out += kTo[simple];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        hex_escape(text, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
      } else if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        --at;
        for (int i = 0; i < 3 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++i) {
          code = code * 8 + static_cast<uint32_t>(text[at++] - '0');
        }
        append_code_point(out, code);
      } else if (c == 'N') {
        context_.error("\\N escapes are not supported");
      } else if (c != '\n') {  // a line end after a backslash is dropped; other escapes stay as they are
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void hex_escape(std::string_view text, size_t& at, size_t digits, std::string& out) {
    uint32_t code = 0;
    const char* end = text.data() + std::min(text.size(), at + digits);
    const auto [read, status] = std::from_chars(text.data() + at, end, code, 16);
    const bool complete = status == std::errc() && read == text.data() + at + digits;
    if (!complete || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      context_.error("a \\x or \\u escape is wrong");
    append_code_point(out, code);
    at += digits;
  }

  std::string source_;
  std::string_view rest_;
  Context context_;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  if (!is_valid_utf8(source)) fail("chat template: is not valid UTF-8");
  return Lexer(source).run();
}

}  // namespace lowbit::jinja
