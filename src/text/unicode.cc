#include "text/unicode.h"

#include <unordered_map>

namespace lowbit {

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 63));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 63));
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  }
}

char32_t next_char(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
  const char32_t lead = byte(at);
  const size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t c = n == 1 ? lead : lead & (0x7F >> n);
  for (size_t i = 1; i < n && at + i < text.size(); ++i) c = c << 6 | (byte(at + i) & 63);
  at += n;
  return c;
}

int char_length(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.empty()) return 0;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const size_t n = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < n; ++i) {
    if (i == bytes.size()) return -static_cast<int>(i);
    // The second byte's range rules out overlong forms, surrogates and what lies beyond U+10FFFF.
    const unsigned char least = i > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char most = i > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(i) < least || byte(i) > most) return 0;
  }
  return static_cast<int>(n);
}

namespace {

/// How many bytes one U+FFFD replaces: the longest beginning of a well-formed character, at least one byte.
size_t ill_formed_length(std::string_view bytes) {
  for (size_t n = std::min<size_t>(bytes.size(), 3); n > 1; --n) {
    if (char_length(bytes.substr(0, n)) < 0) return n;
  }
  return 1;
}

}  // namespace

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const int n = char_length(bytes.substr(at));
    if (n > 0) {
      out.append(bytes.substr(at, static_cast<size_t>(n)));
      at += static_cast<size_t>(n);
    } else {
      append_utf8(out, 0xFFFD);
      at += ill_formed_length(bytes.substr(at));
    }
  }
  return out;
}

const std::array<std::string, 256>& byte_spellings() {
  static const std::array<std::string, 256> table = [] {
    std::array<std::string, 256> out;
    char32_t next = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      append_utf8(out[b], printable ? b : next++);
    }
    return out;
  }();
  return table;
}

std::optional<uint8_t> spelled_byte(char32_t c) {
  static const std::unordered_map<char32_t, uint8_t> table = [] {
    std::unordered_map<char32_t, uint8_t> out;
    for (size_t b = 0; b < 256; ++b) {
      size_t at = 0;
      out[next_char(byte_spellings()[b], at)] = static_cast<uint8_t>(b);
    }
    return out;
  }();
  const auto found = table.find(c);
  if (found == table.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> unspell(std::string_view token) {
  std::string out;
  for (size_t at = 0; at < token.size();) {
    if (char_length(token.substr(at)) <= 0) return std::nullopt;
    const auto byte = spelled_byte(next_char(token, at));
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
  }
  return out;
}

}  // namespace lowbit
