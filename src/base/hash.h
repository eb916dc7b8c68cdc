// A small hash for telling contents apart. Not against forgers.
#pragma once

#include <cstdint>
#include <string_view>

namespace lowbit {

/// 64-bit FNV-1a.
inline uint64_t fnv1a64(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace lowbit
