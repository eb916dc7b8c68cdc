// Regular expressions of tokenizers (written for Oniguruma, as the `tokenizers` library uses it), run by PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lowbit {

struct Span {
  size_t begin = 0, end = 0;  ///< bytes
};

class Regex {
 public:
  /// Throws Error (opened by `where`) if the pattern does not compile, or uses what Oniguruma and PCRE2 read
  /// differently and lowbit does not translate.
  Regex(std::string_view pattern, std::string where);

  /// All matches from left to right, none overlapping; empty ones too. `text` must be UTF-8; any thread may call.
  /// Throws Error if a match takes too many steps (a pattern that backtracks catastrophically).
  std::vector<Span> find_all(std::string_view text) const;

 private:
  std::string pattern_, where_;
  std::shared_ptr<void> code_;  // pcre2_code; PCRE2's header stays out of this one
};

/// `text` with the characters escaped that a pattern gives a meaning.
std::string regex_escape(std::string_view text);

}  // namespace lowbit
