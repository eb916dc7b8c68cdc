// Large pages for large arrays: the system makes a page of 2 MiB ready far sooner than the 512 pages of 4 KiB that it
// would make otherwise, one after another, when they are first touched.
#pragma once

#include <cstddef>
#include <vector>

namespace lowbit {

inline constexpr size_t kLargePage = size_t{2} << 20;  ///< bytes

/// Asks for large pages where [memory, memory + bytes) covers whole ones. A wish: nothing depends on it.
void wish_large_pages(void* memory, size_t bytes);

/// Elements of 0, like std::vector<T>(size).
template <typename T>
std::vector<T> large_vector(size_t size) {
  std::vector<T> out;
  out.reserve(size);
  wish_large_pages(out.data(), size * sizeof(T));
  out.resize(size);
  return out;
}

}  // namespace lowbit
