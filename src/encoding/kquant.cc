// Q2_K Q3_K Q4_K Q5_K Q6_K: super-blocks of 256 whose sub-blocks' scales (and minima) are small integers times one
// binary16 scale (and one binary16 minimum). (block_q2_K ... block_q6_K of ggml-common.h.)
#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr int kBlock = 256;

constexpr auto kLevels2 = consecutive<4>(0);
constexpr auto kLevels3Signed = consecutive<8>(-4);
constexpr auto kLevels4 = consecutive<16>(0);
constexpr auto kLevels5 = consecutive<32>(0);
constexpr auto kLevels6Signed = consecutive<64>(-32);

int nearest_integer(float x, float unit, int lowest, int highest) {
  if (unit == 0) return std::clamp(0, lowest, highest);
  return static_cast<int>(
      std::clamp(std::nearbyint(x / unit), static_cast<float>(lowest), static_cast<float>(highest)));
}

/// Scales and minima are kMost-fold fractions of the largest.
template <int kSubBlocks, int kMost>
BlockHeader snap_scale_min(const BlockWish& wish) {
  float scale = 0, min = 0;
  for (int s = 0; s < kSubBlocks; ++s) {
    scale = std::max(scale, wish.scale[s]);
    min = std::max(min, wish.min[s]);
  }
  BlockHeader header;
  header.d = finite_f16(scale / kMost);
  header.dmin = finite_f16(min / kMost);
  const float d = f16_to_f32(header.d), dmin = f16_to_f32(header.dmin);
  for (int s = 0; s < kSubBlocks; ++s) {
    header.scale[s] = static_cast<int8_t>(nearest_integer(wish.scale[s], d, 0, kMost));
    header.min[s] = static_cast<uint8_t>(nearest_integer(wish.min[s], dmin, 0, kMost));
  }
  return header;
}

/// Signed scales in [kLowest, -kLowest - 1]: the one of greatest magnitude takes kLowest, the range's longer end.
template <int kSubBlocks, int kLowest>
BlockHeader snap_scale(const BlockWish& wish) {
  float most = 0;
  for (int s = 0; s < kSubBlocks; ++s) {
    if (std::fabs(wish.scale[s]) > std::fabs(most)) most = wish.scale[s];
  }
  BlockHeader header;
  header.d = finite_f16(most / kLowest);
  const float d = f16_to_f32(header.d);
  for (int s = 0; s < kSubBlocks; ++s) {
    header.scale[s] = static_cast<int8_t>(nearest_integer(wish.scale[s], d, kLowest, -kLowest - 1));
  }
  return header;
}

template <int kSubBlocks>
BlockGrid grid(const BlockHeader& header) {
  BlockGrid out;
  const float d = f16_to_f32(header.d), dmin = f16_to_f32(header.dmin);
  for (int s = 0; s < kSubBlocks; ++s) {
    out.scale[s] = d * static_cast<float>(header.scale[s]);
    out.min[s] = dmin * static_cast<float>(header.min[s]);
  }
  return out;
}

/// 2-bit fields: byte 32 n + l holds weights 128 n + 32 j + l, j = 0..3, in bits 2 j.
void pack_two_bits(const uint8_t* codes, std::byte* out) {
  for (int i = 0; i < kBlock / 4; ++i) {
    const uint8_t* c = codes + i / 32 * 128 + i % 32;
    out[i] = static_cast<std::byte>((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6);
  }
}

void unpack_two_bits(const std::byte* in, uint8_t* codes) {
  for (int i = 0; i < kBlock / 4; ++i) {
    const auto byte = static_cast<uint32_t>(in[i]);
    for (int j = 0; j < 4; ++j) codes[i / 32 * 128 + 32 * j + i % 32] = static_cast<uint8_t>(byte >> (2 * j) & 3);
  }
}

// Q2_K: scale and minimum of a sub-block share a byte; codes; d; dmin.
void pack_q2(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  for (int s = 0; s < 16; ++s) out[s] = static_cast<std::byte>((header.scale[s] & 15) | header.min[s] << 4);
  pack_two_bits(codes, out + 16);
  store_u16(out + 80, header.d);
  store_u16(out + 82, header.dmin);
}

void unpack_q2(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  for (int s = 0; s < 16; ++s) {
    header.scale[s] = static_cast<int8_t>(static_cast<uint8_t>(in[s]) & 15);
    header.min[s] = static_cast<uint8_t>(in[s]) >> 4;
  }
  unpack_two_bits(in + 16, codes);
  header.d = load_u16(in + 80);
  header.dmin = load_u16(in + 82);
}

// Q3_K: high bits (byte l holds weights 32 j + l in bit j), low two bits, 6-bit scales biased by 32, d.
void pack_q3(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  for (int l = 0; l < 32; ++l) {
    uint32_t high = 0;
    for (int j = 0; j < 8; ++j) high |= static_cast<uint32_t>(codes[32 * j + l] >> 2) << j;
    out[l] = static_cast<std::byte>(high);
  }
  pack_two_bits(codes, out + 32);
  uint8_t scales[12] = {};
  for (int s = 0; s < 16; ++s) {
    const int biased = header.scale[s] + 32;
    scales[s % 8] = static_cast<uint8_t>(scales[s % 8] | (biased & 15) << (s / 8 * 4));
    scales[8 + s % 4] = static_cast<uint8_t>(scales[8 + s % 4] | (biased >> 4) << (s / 4 * 2));
  }
  std::memcpy(out + 96, scales, sizeof scales);
  store_u16(out + 108, header.d);
}

void unpack_q3(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  unpack_two_bits(in + 32, codes);
  for (int i = 0; i < kBlock; ++i) {
    codes[i] = static_cast<uint8_t>(codes[i] | (static_cast<uint32_t>(in[i % 32]) >> (i / 32) & 1) << 2);
  }
  uint8_t scales[12];
  std::memcpy(scales, in + 96, sizeof scales);
  for (int s = 0; s < 16; ++s) {
    const int low = scales[s % 8] >> (s / 8 * 4) & 15, high = scales[8 + s % 4] >> (s / 4 * 2) & 3;
    header.scale[s] = static_cast<int8_t>((low | high << 4) - 32);
  }
  header.d = load_u16(in + 108);
}

// Eight 6-bit scales and minima in 12 bytes: those of sub-blocks 0 to 3 lie whole in bytes 0 to 7, whose two upper bits
// hold the upper bits of those of 4 to 7; the lower halves of the latter share bytes 8 to 11.
void pack_scales(const BlockHeader& header, std::byte* out) {
  uint8_t bytes[12] = {};
  for (int s = 0; s < 4; ++s) {
    const auto scale = static_cast<uint8_t>(header.scale[s + 4]);
    const uint8_t min = header.min[s + 4];
    bytes[s] = static_cast<uint8_t>(header.scale[s] | (scale >> 4) << 6);
    bytes[s + 4] = static_cast<uint8_t>(header.min[s] | (min >> 4) << 6);
    bytes[s + 8] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
  std::memcpy(out, bytes, sizeof bytes);
}

void unpack_scales(const std::byte* in, BlockHeader& header) {
  uint8_t bytes[12];
  std::memcpy(bytes, in, sizeof bytes);
  for (int s = 0; s < 4; ++s) {
    header.scale[s] = static_cast<int8_t>(bytes[s] & 63);
    header.min[s] = bytes[s + 4] & 63;
    header.scale[s + 4] = static_cast<int8_t>((bytes[s + 8] & 15) | (bytes[s] >> 6) << 4);
    header.min[s + 4] = static_cast<uint8_t>(bytes[s + 8] >> 4 | (bytes[s + 4] >> 6) << 4);
  }
}

// Q4_K: d, dmin, scales and minima, codes: byte 32 j + l holds weights 64 j + l and 64 j + 32 + l.
// Q5_K: the fifth bits come between: byte l holds weights 32 j + l in bit j.
template <bool kFifthBit>
void pack_q45(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  store_u16(out, header.d);
  store_u16(out + 2, header.dmin);
  pack_scales(header, out + 4);
  out += 16;
  if constexpr (kFifthBit) {
    for (int l = 0; l < 32; ++l) {
      uint32_t high = 0;
      for (int j = 0; j < 8; ++j) high |= static_cast<uint32_t>(codes[32 * j + l] >> 4) << j;
      out[l] = static_cast<std::byte>(high);
    }
    out += 32;
  }
  for (int i = 0; i < kBlock / 2; ++i) {
    const uint8_t* c = codes + i / 32 * 64 + i % 32;
    out[i] = static_cast<std::byte>((c[0] & 15) | (c[32] & 15) << 4);
  }
}

template <bool kFifthBit>
void unpack_q45(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  header.d = load_u16(in);
  header.dmin = load_u16(in + 2);
  unpack_scales(in + 4, header);
  const std::byte* high = in + 16;
  const std::byte* low = kFifthBit ? in + 48 : in + 16;
  for (int i = 0; i < kBlock / 2; ++i) {
    uint8_t* c = codes + i / 32 * 64 + i % 32;
    c[0] = static_cast<uint8_t>(low[i]) & 15;
    c[32] = static_cast<uint8_t>(low[i]) >> 4;
  }
  if constexpr (kFifthBit) {
    for (int i = 0; i < kBlock; ++i) {
      codes[i] = static_cast<uint8_t>(codes[i] | (static_cast<uint32_t>(high[i % 32]) >> (i / 32) & 1) << 4);
    }
  }
}

// Q6_K: low four bits (byte 64 n + l, l < 64, holds weights 128 n + l and 128 n + 64 + l), high two bits, int8 scales,
// d.
void pack_q6(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  for (int i = 0; i < kBlock / 2; ++i) {
    const uint8_t* c = codes + i / 64 * 128 + i % 64;
    out[i] = static_cast<std::byte>((c[0] & 15) | (c[64] & 15) << 4);
  }
  uint8_t high[kBlock];
  for (int i = 0; i < kBlock; ++i) high[i] = codes[i] >> 4;
  pack_two_bits(high, out + 128);
  std::memcpy(out + 192, header.scale.data(), 16);
  store_u16(out + 208, header.d);
}

void unpack_q6(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  unpack_two_bits(in + 128, codes);
  for (int i = 0; i < kBlock; ++i) {
    const auto low = static_cast<uint32_t>(in[i / 128 * 64 + i % 64]) >> (i % 128 / 64 * 4) & 15;
    codes[i] = static_cast<uint8_t>(codes[i] << 4 | low);
  }
  std::memcpy(header.scale.data(), in + 192, 16);
  header.d = load_u16(in + 208);
}

constexpr Encoding kRows[] = {
    {EncodingId::Q2_K, "Q2_K", EncodingKind::Block, 256, 16, 84, true, kLevels2, 0, 15, 15, snap_scale_min<16, 15>,
     grid<16>, pack_q2, unpack_q2},
    {EncodingId::Q3_K, "Q3_K", EncodingKind::Block, 256, 16, 110, false, kLevels3Signed, -32, 31, 0,
     snap_scale<16, -32>, grid<16>, pack_q3, unpack_q3},
    {EncodingId::Q4_K, "Q4_K", EncodingKind::Block, 256, 32, 144, true, kLevels4, 0, 63, 63, snap_scale_min<8, 63>,
     grid<8>, pack_q45<false>, unpack_q45<false>},
    {EncodingId::Q5_K, "Q5_K", EncodingKind::Block, 256, 32, 176, true, kLevels5, 0, 63, 63, snap_scale_min<8, 63>,
     grid<8>, pack_q45<true>, unpack_q45<true>},
    {EncodingId::Q6_K, "Q6_K", EncodingKind::Block, 256, 16, 210, false, kLevels6Signed, -128, 127, 0,
     snap_scale<16, -128>, grid<16>, pack_q6, unpack_q6},
};

}  // namespace

std::span<const Encoding> kquant_encodings() { return kRows; }

}  // namespace lowbit
