// Conversions between binary32, binary16 (IEEE 754) and bfloat16, one value at a time; kernels have vector forms.
#pragma once

#include <bit>
#include <cstdint>

namespace lowbit {

/// All ones if a condition holds. Both conversions compute every case and pick by mask: a branch, or a choice that the
/// compiler can make one, would keep loops over them from being vectorised.
constexpr uint32_t mask_if(bool condition) { return 0u - static_cast<uint32_t>(condition); }

/// Exact for every input, subnormals, infinities and NaN included.
inline float f16_to_f32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fffu) << 13;
  // Multiplying by 2^112 rebases the exponent and normalises subnormals in one exact step.
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  return std::bit_cast<float>(sign | finite | (mask_if(magnitude >= 0x0f800000u) & 0x7f800000u));
}

/// Rounds to nearest, ties to even; overflow gives infinity; a NaN stays a (quiet) NaN.
inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Subnormal: let the FPU round at the right bit.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t special = 0x7c00u | (mask_if(magnitude > 0x7f800000u) & (0x200u | ((magnitude >> 13) & 0x3ffu)));
  const uint32_t is_small = mask_if(magnitude < 0x38800000u), is_large = mask_if(magnitude >= 0x477ff000u);
  const uint32_t finite = (subnormal & is_small) | (normal & ~is_small);
  return static_cast<uint16_t>(sign | (finite & ~is_large) | (special & is_large));
}

inline float bf16_to_f32(uint16_t b) { return std::bit_cast<float>(static_cast<uint32_t>(b) << 16); }

/// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace lowbit
