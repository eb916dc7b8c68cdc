// What grouped weights (group.h) become at load: blocks of 32 with a binary16 scale and, in the Z types, a binary16
// zero point in units of the scale. An integer zero point is exact so, where a minimum in Q4_1's manner would be
// rounded.
//
// NF4 looks codes up in a table of 8-bit integers, as products need them: the published table times 112.05 (the factor
// that suits integers best, for weights as they are distributed). It is off by 0.4 % of the block's greatest value at
// most, 0.18 % root mean square, while the format's own rounding errors are some 4 %. FP4 has no such table: its least
// step is 1/192 of its greatest, beyond 8 bits.
#include <algorithm>

#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr int kBlock = 32;

constexpr auto kLevels2 = consecutive<4>(0);
constexpr auto kLevels3 = consecutive<8>(0);
constexpr auto kLevels4 = consecutive<16>(0);
constexpr auto kLevels8 = consecutive<256>(-128);
constexpr std::array<int8_t, 16> kLevelsNf4 = {-112, -78, -59, -44, -32, -21, -10, 0, 9, 18, 28, 38, 49, 63, 81, 112};

BlockHeader snap_zero_point(const BlockWish& wish) {
  BlockHeader header;
  header.d = finite_f16(wish.scale[0]);
  const float d = f16_to_f32(header.d);
  header.dmin = d == 0 ? 0 : finite_f16(std::clamp(wish.min[0], -3e38F, 3e38F) / d);
  return header;
}

BlockGrid grid_zero_point(const BlockHeader& header) {
  BlockGrid grid;
  grid.scale[0] = f16_to_f32(header.d);
  grid.min[0] = grid.scale[0] * f16_to_f32(header.dmin);
  return grid;
}

/// Codes as one little-endian stream of bits, 8 codes in kBits bytes.
template <bool kZero, int kBits>
void pack(const BlockHeader& header, const uint8_t* codes, std::byte* out) {
  store_u16(out, header.d);
  out += 2;
  if constexpr (kZero) {
    store_u16(out, header.dmin);
    out += 2;
  }
  for (int i = 0; i < kBlock; i += 8, out += kBits) {
    uint64_t word = 0;
    for (int k = 0; k < 8; ++k) word |= static_cast<uint64_t>(codes[i + k]) << (k * kBits);
    std::memcpy(out, &word, kBits);
  }
}

template <bool kZero, int kBits>
void unpack(const std::byte* in, BlockHeader& header, uint8_t* codes) {
  header = {};
  header.d = load_u16(in);
  in += 2;
  if constexpr (kZero) {
    header.dmin = load_u16(in);
    in += 2;
  }
  for (int i = 0; i < kBlock; i += 8, in += kBits) {
    uint64_t word = 0;
    std::memcpy(&word, in, kBits);
    for (int k = 0; k < 8; ++k) codes[i + k] = static_cast<uint8_t>(word >> (k * kBits) & ((1u << kBits) - 1));
  }
}

template <int kBits>
constexpr Encoding zero_point_row(EncodingId id, std::string_view name, std::span<const int8_t> levels) {
  return {id,
          name,
          EncodingKind::Block,
          kBlock,
          kBlock,
          4 + kBlock * kBits / 8,
          true,
          levels,
          0,
          0,
          0,
          snap_zero_point,
          grid_zero_point,
          pack<true, kBits>,
          unpack<true, kBits>,
          true};
}

constexpr Encoding kRows[] = {
    zero_point_row<2>(EncodingId::Z2, "Z2", kLevels2),
    zero_point_row<3>(EncodingId::Z3, "Z3", kLevels3),
    zero_point_row<4>(EncodingId::Z4, "Z4", kLevels4),
    zero_point_row<8>(EncodingId::Z8, "Z8", kLevels8),
    {EncodingId::NF4, "NF4", EncodingKind::Block, kBlock, kBlock, 18, false, kLevelsNf4, 0, 0, 0, snap_scale,
     grid_scale, pack<false, 4>, unpack<false, 4>, true},
};

}  // namespace

std::span<const Encoding> lowered_encodings() { return kRows; }

}  // namespace lowbit
