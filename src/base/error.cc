#include "base/error.h"

#include <algorithm>

namespace lowbit {

std::string one_line(std::string message) {
  constexpr size_t kLongest = 1500;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (message.size() > kLongest) message = message.substr(0, kLongest) + "...";
  if (std::none_of(message.begin(), message.end(), is_control)) return message;
  std::string out;
  for (const char c : message) {
    if (out.size() >= kLongest) return out + "...";
    if (is_control(c)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace lowbit
