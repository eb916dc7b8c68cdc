// UTF-8 and the byte-to-unicode spelling of byte-level BPE.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lowbit {

/// U+2581, with which SentencePiece writes a space.
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

void append_utf8(std::string& out, char32_t c);

/// Reads the character at byte `at` of valid UTF-8 and moves `at` past it.
char32_t next_char(std::string_view text, size_t& at);

/// The length of the well-formed character at the start of `bytes`; 0 if it is ill-formed; -n if the first n bytes (all
/// there are) could still become one.
int char_length(std::string_view bytes);

/// Valid UTF-8: each maximal ill-formed part becomes U+FFFD (Unicode 3.9, best practice; Python's and Rust's lossy
/// decoding).
std::string to_valid_utf8(std::string_view bytes);

/// GPT-2's printable stand-in for each byte, as UTF-8.
const std::array<std::string, 256>& byte_spellings();
/// The byte that a character stands for.
std::optional<uint8_t> spelled_byte(char32_t c);
/// A token in the byte spelling back to its bytes; nullopt if a character stands for no byte.
std::optional<std::string> unspell(std::string_view token);

}  // namespace lowbit
