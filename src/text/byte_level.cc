#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace lowbit {
namespace {

struct Table {
  std::array<std::string, 256> spelling;
  std::array<int, 512> byte;  // by code point; -1 where it stands for none

  Table() {
    byte.fill(-1);
    char32_t next = 256;  // bytes without a printable Latin-1 character take the code points from here on, in order
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = printable ? static_cast<char32_t>(b) : next++;
      append_utf8(spelling[b], code);
      byte[code] = b;
    }
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

}  // namespace

std::string_view byte_level_char(unsigned char byte) { return table().spelling[byte]; }

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char c : bytes) out += byte_level_char(static_cast<unsigned char>(c));
  return out;
}

std::optional<std::string> from_byte_level(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid || c.code >= table().byte.size() || table().byte[c.code] < 0) return std::nullopt;
    out += static_cast<char>(table().byte[c.code]);
    at += c.size;
  }
  return out;
}

}  // namespace lowbit
