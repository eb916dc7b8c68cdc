// UTF-8, one character at a time, for text that may not be UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lowbit {

struct Utf8Char {
  char32_t code = 0;  ///< U+FFFD where the bytes are not UTF-8
  size_t size = 0;    ///< bytes that it takes; where invalid, those of the longest start of a sound character (1 to 3)
  bool valid = false;
  bool cut = false;  ///< invalid only because the text ends here
};

/// The character at byte `at` (< text.size()). Invalid bytes are grouped as the Unicode Standard (3.9, "maximal
/// subpart") and Python's errors="replace" group them: one U+FFFD each.
Utf8Char decode_utf8(std::string_view text, size_t at);

void append_utf8(std::string& out, char32_t code);

/// `text` with U+FFFD for what is not UTF-8.
std::string to_valid_utf8(std::string_view text);

/// U+2581, with which SentencePiece writes a space, and a token with spaces in its place.
inline constexpr std::string_view kSpaceMark = "\u2581";
std::string plain_spaces(std::string_view token);

/// Unicode's White_Space property.
bool is_white_space(char32_t code);

}  // namespace lowbit
