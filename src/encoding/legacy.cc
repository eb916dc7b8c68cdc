// Q4_0 Q4_1 Q5_0 Q5_1 Q8_0: blocks of 32 with one binary16 scale, and a binary16 minimum in the _1 types.
// A 4-bit block of 16 bytes holds weight i in the low half of byte i and weight 16 + i in the high half; the fifth bits
// of Q5 are a little-endian word. (block_q4_0 ... block_q8_0 of ggml-common.h.)
#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr int kBlock = 32;

constexpr auto kLevels4Signed = consecutive<16>(-8);
constexpr auto kLevels4 = consecutive<16>(0);
constexpr auto kLevels5Signed = consecutive<32>(-16);
constexpr auto kLevels5 = consecutive<32>(0);
constexpr auto kLevels8 = consecutive<256>(-128);

// These types store the smallest value itself, m = -min, and readers add it.
BlockHeader snap_scale_min(const BlockWish& wish) {
  BlockHeader header;
  header.d = finite_f16(wish.scale[0]);
  header.dmin = finite_f16(-wish.min[0]);
  return header;
}

BlockGrid grid_scale_min(const BlockHeader& header) {
  BlockGrid grid;
  grid.scale[0] = f16_to_f32(header.d);
  grid.min[0] = -f16_to_f32(header.dmin);
  return grid;
}

template <bool kMin, int kBits>
void pack(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  store_u16(out, header.d);
  out += 2;
  if constexpr (kMin) {
    store_u16(out, header.dmin);
    out += 2;
  }
  if constexpr (kBits == 8) {
    for (int i = 0; i < kBlock; ++i) out[i] = static_cast<std::byte>(codes[i] ^ 0x80);  // code 0 is -128
    return;
  }
  if constexpr (kBits == 5) {
    uint32_t high = 0;
    for (int i = 0; i < kBlock; ++i) high |= static_cast<uint32_t>(codes[i] >> 4) << i;
    std::memcpy(out, &high, sizeof high);
    out += sizeof high;
  }
  for (int i = 0; i < kBlock / 2; ++i) {
    out[i] = static_cast<std::byte>((codes[i] & 15) | (codes[i + kBlock / 2] & 15) << 4);
  }
}

template <bool kMin, int kBits>
void unpack(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  header.d = load_u16(in);
  in += 2;
  if constexpr (kMin) {
    header.dmin = load_u16(in);
    in += 2;
  }
  if constexpr (kBits == 8) {
    for (int i = 0; i < kBlock; ++i) codes[i] = static_cast<uint8_t>(in[i]) ^ 0x80;
    return;
  }
  uint32_t high = 0;
  if constexpr (kBits == 5) {
    std::memcpy(&high, in, sizeof high);
    in += sizeof high;
  }
  for (int i = 0; i < kBlock / 2; ++i) {
    const auto byte = static_cast<uint32_t>(in[i]);
    codes[i] = static_cast<uint8_t>((byte & 15) | (high >> i & 1) << 4);
    codes[i + kBlock / 2] = static_cast<uint8_t>(byte >> 4 | (high >> (i + kBlock / 2) & 1) << 4);
  }
}

constexpr Encoding kRows[] = {
    {EncodingId::Q4_0, "Q4_0", EncodingKind::Block, 32, 32, 18, false, kLevels4Signed, 0, 0, 0, snap_scale, grid_scale,
     pack<false, 4>, unpack<false, 4>},
    {EncodingId::Q4_1, "Q4_1", EncodingKind::Block, 32, 32, 20, true, kLevels4, 0, 0, 0, snap_scale_min, grid_scale_min,
     pack<true, 4>, unpack<true, 4>},
    {EncodingId::Q5_0, "Q5_0", EncodingKind::Block, 32, 32, 22, false, kLevels5Signed, 0, 0, 0, snap_scale, grid_scale,
     pack<false, 5>, unpack<false, 5>},
    {EncodingId::Q5_1, "Q5_1", EncodingKind::Block, 32, 32, 24, true, kLevels5, 0, 0, 0, snap_scale_min, grid_scale_min,
     pack<true, 5>, unpack<true, 5>},
    {EncodingId::Q8_0, "Q8_0", EncodingKind::Block, 32, 32, 34, false, kLevels8, 0, 0, 0, snap_scale, grid_scale,
     pack<false, 8>, unpack<false, 8>},
};

}  // namespace

std::span<const Encoding> legacy_encodings() { return kRows; }

}  // namespace lowbit
