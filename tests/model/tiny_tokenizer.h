// A tokenizer made in memory for tests: one token a byte, then <s> (256), </s> (257) and "th" (258).
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace lowbit {

inline constexpr int64_t kTinyVocab = 259;

/// A code point below 0x800 in UTF-8.
inline std::string utf8_of(uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
}

/// GPT-2's spelling of bytes: printable Latin-1 stands for itself, the others follow from U+0100 on.
inline TokenizerData tiny_tokenizer() {
  TokenizerData d;
  uint32_t other = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    d.tokens.push_back(utf8_of(printable ? b : other++));
  }
  d.types.assign(256, TokenType::Normal);
  for (const char* special : {"<s>", "</s>"}) {
    d.tokens.emplace_back(special);
    d.types.push_back(TokenType::Control);
  }
  d.tokens.emplace_back("th");
  d.types.push_back(TokenType::Normal);
  d.merges = {"t h"};
  d.pre = "gpt-2";
  d.lstrip = d.rstrip = d.single_word = d.normalized = std::vector<bool>(d.tokens.size());
  d.bos = 256;
  d.eos = 257;
  d.end_of_generation = {257};
  return d;
}

}  // namespace lowbit
