// IQ4_NL and IQ4_XS: four-bit codes that look up a table of 16 unevenly spaced values. (block_iq4_nl, block_iq4_xs and
// kvalues_iq4nl of ggml-common.h.)
#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr std::array<int8_t, 16> kLevels = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// 32 codes in 16 bytes: byte i holds weight i in its low half, 16 + i in its high half.
void pack_codes(const uint8_t* codes, std::byte* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<std::byte>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

void unpack_codes(const std::byte* in, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<uint8_t>(in[i]) & 15;
    codes[i + 16] = static_cast<uint8_t>(in[i]) >> 4;
  }
}

void pack_nl(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  store_u16(out, header.d);
  pack_codes(codes, out + 2);
}

void unpack_nl(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  header.d = load_u16(in);
  unpack_codes(in + 2, codes);
}

constexpr int kSubBlocks = 8;

/// Signed 6-bit scales: the one of greatest magnitude takes -32, the range's longer end.
BlockHeader snap_xs(const BlockWish& wish) {
  float most = 0;
  for (int s = 0; s < kSubBlocks; ++s) {
    if (std::fabs(wish.scale[s]) > std::fabs(most)) most = wish.scale[s];
  }
  BlockHeader header;
  header.d = finite_f16(most / -32);
  const float d = f16_to_f32(header.d);
  for (int s = 0; s < kSubBlocks; ++s) {
    header.scale[s] =
        d == 0 ? int8_t{0} : static_cast<int8_t>(std::clamp(std::nearbyint(wish.scale[s] / d), -32.0F, 31.0F));
  }
  return header;
}

BlockGrid grid_xs(const BlockHeader& header) {
  BlockGrid grid;
  const float d = f16_to_f32(header.d);
  for (int s = 0; s < kSubBlocks; ++s) grid.scale[s] = d * static_cast<float>(header.scale[s]);
  return grid;
}

// d; the scales' upper two bits in one word, their lower four in four bytes; codes.
void pack_xs(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  uint32_t high = 0;
  uint8_t low[4] = {};
  for (int s = 0; s < kSubBlocks; ++s) {
    const auto biased = static_cast<uint32_t>(header.scale[s] + 32);
    high |= (biased >> 4) << (2 * s);
    low[s / 2] = static_cast<uint8_t>(low[s / 2] | (biased & 15) << (s % 2 * 4));
  }
  store_u16(out, header.d);
  store_u16(out + 2, static_cast<uint16_t>(high));
  std::memcpy(out + 4, low, sizeof low);
  for (int s = 0; s < kSubBlocks; ++s) pack_codes(codes + 32 * s, out + 8 + 16 * s);
}

void unpack_xs(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  header.d = load_u16(in);
  const uint32_t high = load_u16(in + 2);
  for (int s = 0; s < kSubBlocks; ++s) {
    const uint32_t low = static_cast<uint32_t>(in[4 + s / 2]) >> (s % 2 * 4) & 15;
    header.scale[s] = static_cast<int8_t>(static_cast<int>(low | (high >> (2 * s) & 3) << 4) - 32);
    unpack_codes(in + 8 + 16 * s, codes + 32 * s);
  }
}

constexpr Encoding kRows[] = {
    {EncodingId::IQ4_NL, "IQ4_NL", EncodingKind::Block, 32, 32, 18, false, kLevels, 0, 0, 0, snap_scale, grid_scale,
     pack_nl, unpack_nl},
    {EncodingId::IQ4_XS, "IQ4_XS", EncodingKind::Block, 256, 32, 136, false, kLevels, -32, 31, 0, snap_xs, grid_xs,
     pack_xs, unpack_xs},
};

}  // namespace

std::span<const Encoding> iq4_encodings() { return kRows; }

}  // namespace lowbit
