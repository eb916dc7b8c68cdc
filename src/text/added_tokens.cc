#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace lowbit {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), word_("[\\w\\x{200C}\\x{200D}]", "added tokens") {
  token_at_.push_back(-1);
  for (size_t t = 0; t < tokens_.size(); ++t) {
    uint64_t node = 0;
    for (const char c : tokens_[t].content) {
      const auto [edge, added] =
          edges_.try_emplace(node * 256 + static_cast<unsigned char>(c), static_cast<uint32_t>(token_at_.size()));
      if (added) token_at_.push_back(-1);
      node = edge->second;
    }
    if (node) first_byte_[static_cast<unsigned char>(tokens_[t].content[0])] = true;
    if (node && token_at_[node] < 0) token_at_[node] = static_cast<int32_t>(t);
  }
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at, size_t& end) const {
  const AddedToken* found = nullptr;
  uint64_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = edges_.find(node * 256 + static_cast<unsigned char>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_[node] < 0) continue;
    found = &tokens_[token_at_[node]];
    end = i + 1;
  }
  return found;
}

bool AddedTokens::is_word(std::string_view text, size_t at) const {
  return !word_.find_all(text.substr(at, decode_utf8(text, at).size)).empty();
}

namespace {

// Where the character that ends at `end` begins.
size_t character_before(std::string_view text, size_t end) {
  --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

}  // namespace

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text,
                                                  const std::function<bool(int32_t id)>& wanted) const {
  std::vector<Part> parts;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = 0;
    const AddedToken* token = first_byte_[static_cast<unsigned char>(text[at])] ? longest_at(text, at, end) : nullptr;
    if (!token) {
      ++at;
      continue;
    }
    size_t begin = at;
    at = end;  // a token that is found and not taken still uses up its characters
    if (!wanted(token->id)) continue;
    if (token->single_word &&
        ((begin > 0 && is_word(text, character_before(text, begin))) || (end < text.size() && is_word(text, end))))
      continue;
    if (token->lstrip) {
      while (begin > done) {
        const size_t before = character_before(text, begin);
        if (!is_white_space(decode_utf8(text, before).code)) break;
        begin = before;
      }
    }
    begin = std::max(begin, done);
    if (token->rstrip) {
      while (end < text.size()) {
        const Utf8Char c = decode_utf8(text, end);
        if (!is_white_space(c.code)) break;
        end += c.size;
      }
    }
    if (begin > done) parts.push_back({{done, begin}, -1});
    parts.push_back({{begin, end}, token->id});
    done = end;
    at = std::max(at, end);
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, -1});
  return parts;
}

}  // namespace lowbit
