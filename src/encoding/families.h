// The rows of each family, gathered by the registry in encoding.cc.
#pragma once

#include <cstring>
#include <span>

#include "encoding/encoding.h"

namespace lowbit {

std::span<const Encoding> legacy_encodings();   ///< Q4_0 Q4_1 Q5_0 Q5_1 Q8_0
std::span<const Encoding> kquant_encodings();   ///< Q2_K ... Q6_K
std::span<const Encoding> iq4_encodings();      ///< IQ4_NL IQ4_XS
std::span<const Encoding> lowered_encodings();  ///< Z2 ... Z8 NF4

/// Consecutive integers [lowest, lowest + N).
template <int N>
constexpr std::array<int8_t, N> consecutive(int lowest) {
  std::array<int8_t, N> out{};
  for (int i = 0; i < N; ++i) out[static_cast<size_t>(i)] = static_cast<int8_t>(lowest + i);
  return out;
}

inline uint16_t load_u16(const std::byte* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_u16(std::byte* p, uint16_t v) { std::memcpy(p, &v, sizeof v); }

/// The binary16 nearest to x that is finite.
uint16_t finite_f16(float x);

/// snap and grid of blocks that store one binary16 scale and nothing else.
BlockHeader snap_scale(const BlockWish& wish);
BlockGrid grid_scale(const BlockHeader& header);

}  // namespace lowbit
