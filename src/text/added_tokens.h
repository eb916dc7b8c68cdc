// Tokens that are found in the text as they are, before anything is merged.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

/// Finds added tokens in a text, leftmost first and of those the longest.
class AddedTokens {
 public:
  void add(int32_t id, std::string_view text, bool lstrip, bool rstrip, bool single_word);
  bool empty() const { return by_first_.empty(); }

  /// Calls on_text for what lies between added tokens and on_token for each of them, in the text's order. Tokens for
  /// which `allowed` is false are plain text.
  void split(std::string_view text, const std::function<bool(int32_t id)>& allowed,
             const std::function<void(std::string_view)>& on_text, const std::function<void(int32_t)>& on_token) const;

 private:
  struct Entry {
    std::string text;
    int32_t id;
    bool lstrip, rstrip, single_word;
  };
  const Entry* match(std::string_view text, size_t at, const std::function<bool(int32_t)>& allowed) const;
  std::unordered_map<char, std::vector<Entry>> by_first_;  // longest first
};

}  // namespace lowbit
