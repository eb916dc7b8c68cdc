// Regular expressions of tokenizer.json, through PCRE2 with Unicode classes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace lowbit {

/// A compiled pattern. The `tokenizers` library means Oniguruma's syntax; the patterns in use mean the same in PCRE2.
/// Matching is bounded: a pattern that backtracks for ever ends in an Error. Thread-safe.
class Regex {
 public:
  /// Throws Error naming the pattern and the place of the mistake.
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(Regex&&) noexcept;

  struct Match {
    size_t begin = 0, end = 0;
    bool found = false;
  };
  /// The leftmost match at or after byte `from` of valid UTF-8 text.
  Match find(std::string_view text, size_t from) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
