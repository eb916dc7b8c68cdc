// What the fuzz targets share: an Error of one line is a right answer, any other end is a bug.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "base/error.h"

namespace lowbit {

/// Stops the fuzzer: `condition` is something that every caller may rely on.
inline void require(bool condition) {
  if (!condition) std::abort();
}

/// Runs `parse`, which may throw an Error whose message is one short line.
template <typename Parse>
int fuzz(const Parse& parse) {
  constexpr size_t kLongestMessage = 2000;
  try {
    parse();
  } catch (const Error& e) {
    const std::string_view message = e.what();
    require(!message.empty() && message.size() < kLongestMessage && message.find('\n') == std::string_view::npos);
  }
  return 0;
}

inline std::span<const std::byte> as_file(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

}  // namespace lowbit
