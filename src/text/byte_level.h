// The spelling of bytes as printable characters that byte-level BPE vocabularies use (GPT-2): a space is U+0120 "Ġ".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lowbit {

/// The character (UTF-8, one or two bytes) that stands for a byte.
std::string_view byte_level_char(unsigned char byte);

std::string to_byte_level(std::string_view bytes);

/// The bytes that `text` spells, or nothing if one of its characters stands for no byte.
std::optional<std::string> from_byte_level(std::string_view text);

}  // namespace lowbit
