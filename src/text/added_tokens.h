// Tokens that are found in the text as a whole, before anything else happens to it.
// (Semantics: the `tokenizers` library, src/tokenizer/added_vocabulary.rs.)
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/regex.h"

namespace lowbit {

struct AddedToken {
  std::string content;  ///< not empty
  int32_t id = 0;
  bool lstrip = false, rstrip = false;  ///< takes the white space before, after it along
  bool single_word = false;             ///< only where no word character is next to it
};

class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Part {
    Span span;
    int32_t id = -1;  ///< -1: text between tokens
  };
  /// The parts of `text` (UTF-8), in order: the leftmost token first, the longest of those that start together. A token
  /// for which `wanted` is false stays text.
  std::vector<Part> split(std::string_view text, const std::function<bool(int32_t id)>& wanted) const;

 private:
  const AddedToken* longest_at(std::string_view text, size_t at, size_t& end) const;
  bool is_word(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<uint64_t, uint32_t> edges_;  // node * 256 + byte -> node; node 0 is the root
  std::vector<int32_t> token_at_;                 // by node; -1 where none ends
  std::vector<bool> first_byte_ = std::vector<bool>(256, false);
  Regex word_;
};

}  // namespace lowbit
