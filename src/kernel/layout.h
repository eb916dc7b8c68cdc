// Plain data that the packer and the kernels of every instruction set share: the byte layout of packed weights and of
// quantized activations. Nothing here has external linkage or is a template, because kernel files are compiled for
// instruction sets that the machine may lack: a shared inline function could leak them into portable code.
//
// A matrix is cut into panels of 16 rows. A panel of a float family is [cols][16] elements, then zeros up to a multiple
// of 64 bytes. A panel of the others is a sequence of chunks of up to 8 tiles of 32 columns; a chunk of n tiles is a
// header, then n tiles of codes:
//
//   header  F16 scales:    scale f16[g][16], then minimum (or zero point) f16[g][16] if the family has minima: 2^shared
//                          tiles have one between them, so that g = n / 2^shared, rounded up
//           sub-scales:    d f16[16], dmin f16[16] if minima; scale i8[n][s][16], minimum u8[n][s][16] if minima
//                          (s = 1 or 2 per tile); 2-bit codes have scale | minimum << 4 in one u8[n][s][16] instead
//           of 3 bits:     scales + 32, in six bits: the lower four of both of a tile, from bit 0 on, in one u8[8][16],
//                          the upper two of both of tiles t and t + 4 in one u8[4][16], then d f16[16]
//           padded to a multiple of 64 bytes
//   tile    as many vectors of 64 bytes as codes have bits. Columns come in 8 groups of 4; byte 4 r + k of a vector
//           belongs to row r and the k-th column of a group. A byte holds whole codes from bit 0 on, and of 3, 5 and 6
//           bits what is left holds pieces of the last groups' codes: see pieces_of().
//
// Codes are unsigned. A weight is scale * code - minimum; without minima it is scale * (code - 2^(bits-1)), or, for a
// table, scale * (table[code] - 128). A minimum may be stored as a zero point: it is scale * zero then, exactly. Codes
// of 8 bits have 128 taken off even where there are minima, because not every instruction set multiplies them unsigned.
#pragma once

#include <stdint.h>

namespace lowbit {

/// To be raised whenever these bytes come to mean something else: packed weights are kept on disk.
inline constexpr int kLayoutVersion = 2;

inline constexpr int kPanelRows = 16;
inline constexpr int kTileCols = 32;
inline constexpr int kChunkTiles = 8;
inline constexpr int kMostShared = 3;  ///< scales are shared within a chunk

/// How a matrix is laid out and multiplied. S = symmetric, M = with minima, Z = with zero points, T = through a table,
/// then bits; K = integer sub-scales below an f16 scale per 256 columns.
enum class Family : uint8_t { F32, F16, BF16, S4, M4, T4, S5, M5, S8, K2, K3, K4, TK4, K5, K6, Z2, Z3, Z4, Z8 };

struct FamilyTraits {
  int bits;  ///< of a code; of an element for float families
  bool is_float;
  bool table;  ///< 4-bit codes stand for table[code]
  bool minima;
  int sub_scales;      ///< per tile: 0 = one f16 scale, 1 or 2 = so many integer scales
  bool zeros = false;  ///< minima are stored as zero points
};

static constexpr FamilyTraits traits(Family family) {
  switch (family) {
    case Family::F32:
      return {32, true, false, false, 0};
    case Family::F16:
      return {16, true, false, false, 0};
    case Family::BF16:
      return {16, true, false, false, 0};
    case Family::S4:
      return {4, false, false, false, 0};
    case Family::M4:
      return {4, false, false, true, 0};
    case Family::T4:
      return {4, false, true, false, 0};
    case Family::S5:
      return {5, false, false, false, 0};
    case Family::M5:
      return {5, false, false, true, 0};
    case Family::S8:
      return {8, false, false, false, 0};
    case Family::K2:
      return {2, false, false, true, 2};
    case Family::K3:
      return {3, false, false, false, 2};
    case Family::K4:
      return {4, false, false, true, 1};
    case Family::TK4:
      return {4, false, true, false, 1};
    case Family::K5:
      return {5, false, false, true, 1};
    case Family::K6:
      return {6, false, false, false, 2};
    case Family::Z2:
      return {2, false, false, true, 0, true};
    case Family::Z3:
      return {3, false, false, true, 0, true};
    case Family::Z4:
      return {4, false, false, true, 0, true};
    case Family::Z8:
      return {8, false, false, true, 0, true};
  }
  return {};
}

/// Whether 2^offset_shift is taken off the codes.
static constexpr bool has_offset(FamilyTraits t) { return !t.minima || t.bits == 8; }
static constexpr int offset_shift(FamilyTraits t) { return t.table ? 7 : t.bits - 1; }

/// Whether what a chunk's tiles have in common, d and dmin, is applied to their sums: see matmul_ref.cc. Codes times
/// integer scales are integers of 8 bits then (of 3 bits when negated).
static constexpr bool scaled_by_chunks(FamilyTraits t) { return t.sub_scales == 2 && t.bits <= 3; }

/// Bytes of a tile's codes; a multiple of 64.
static constexpr int tile_bytes(FamilyTraits t) { return kPanelRows * kTileCols * t.bits / 8; }

/// Bits [to, to + count) of a code are bits [from, from + count) of a byte of vector `vector`.
struct Piece {
  int vector, from, to, count;
};
struct Pieces {
  int count;
  Piece piece[3];  ///< from bit 0 of the code on
};
/// Where the codes of a group of columns are; most are in one piece, as putting pieces together takes time.
static constexpr Pieces pieces_of(int bits, int group) {
  const int whole = 8 / bits;  // codes in a byte
  if (group < bits * whole) return {1, {{group % bits, group / bits * bits, 0, bits}}};
  switch (bits) {
    case 3:
      return group == 6 ? Pieces{2, {{0, 6, 0, 2}, {2, 6, 2, 1}}} : Pieces{2, {{1, 6, 0, 2}, {2, 7, 2, 1}}};
    case 5:
      return group == 5   ? Pieces{2, {{0, 5, 0, 3}, {1, 5, 3, 2}}}
             : group == 6 ? Pieces{2, {{2, 5, 0, 3}, {3, 5, 3, 2}}}
                          : Pieces{3, {{4, 5, 0, 3}, {1, 7, 3, 1}, {3, 7, 4, 1}}};
    default:  // 6
      return group == 6 ? Pieces{3, {{0, 6, 0, 2}, {1, 6, 2, 2}, {2, 6, 4, 2}}}
                        : Pieces{3, {{3, 6, 0, 2}, {4, 6, 2, 2}, {5, 6, 4, 2}}};
  }
}

// Where the parts of a chunk of `tiles` tiles lie. scales_at() and minima_at() are not for split scales.
static constexpr int scales_at(FamilyTraits t) { return t.sub_scales == 0 ? 0 : t.minima ? 64 : 32; }
static constexpr int scales_bytes(FamilyTraits t) {  ///< of one tile, or of those that share them
  return t.sub_scales == 0 ? 2 * kPanelRows : t.sub_scales * kPanelRows;
}
/// Whether integer scales are stored in six bits. Chunks are whole then.
static constexpr bool split_scales(FamilyTraits t) { return t.bits == 3 && t.sub_scales == 2; }
inline constexpr int kUpperScalesAt = kPanelRows * kChunkTiles;
static constexpr int d_at(FamilyTraits t) {
  return split_scales(t) ? kUpperScalesAt + kPanelRows * kChunkTiles / 2 : 0;
}
static constexpr int scale_groups(int tiles, int shared) { return (tiles + (1 << shared) - 1) >> shared; }
static constexpr int minima_at(FamilyTraits t, int tiles, int shared) {
  return scales_at(t) + scale_groups(tiles, shared) * scales_bytes(t);
}
static constexpr int header_bytes(FamilyTraits t, int tiles, int shared) {
  const bool separate = t.minima && (t.bits != 2 || t.sub_scales == 0);
  const int end = split_scales(t)
                      ? d_at(t) + 2 * kPanelRows
                      : minima_at(t, tiles, shared) + (separate ? scale_groups(tiles, shared) * scales_bytes(t) : 0);
  return (end + 63) / 64 * 64;
}
static constexpr int chunk_bytes(FamilyTraits t, int tiles, int shared) {
  return header_bytes(t, tiles, shared) + tiles * tile_bytes(t);
}

/// Bytes of `tiles` tiles of a panel, from the start of a chunk on.
static constexpr uint64_t tiles_bytes(FamilyTraits t, int64_t tiles, int shared) {
  const int rest = static_cast<int>(tiles % kChunkTiles);
  const auto whole =
      static_cast<uint64_t>(tiles / kChunkTiles) * static_cast<uint64_t>(chunk_bytes(t, kChunkTiles, shared));
  return whole + (rest == 0 ? 0 : static_cast<uint64_t>(chunk_bytes(t, rest, shared)));
}

/// Bits of the upper part of a split scale that belong to part `s` of a tile begin there.
static constexpr int upper_scale_bit(int tile, int s) { return tile / 4 * 4 + 2 * s; }
/// The integer scale of part `s` of a row's tile.
static inline int sub_scale(FamilyTraits t, const uint8_t* chunk, int tile, int s, int row) {
  if (!split_scales(t)) {
    const uint8_t byte = chunk[scales_at(t) + (tile * t.sub_scales + s) * kPanelRows + row];
    return t.bits == 2 ? byte & 15 : static_cast<int8_t>(byte);
  }
  const int lower = chunk[kPanelRows * tile + row] >> (4 * s) & 15;
  const int upper = chunk[kUpperScalesAt + kPanelRows * (tile % 4) + row] >> upper_scale_bit(tile, s) & 3;
  return (lower | upper << 4) - 32;
}
/// Its integer minimum.
static inline int sub_minimum(FamilyTraits t, const uint8_t* chunk, int tiles, int tile, int s, int row) {
  const int at = (tile * t.sub_scales + s) * kPanelRows + row;
  return t.bits == 2 ? chunk[scales_at(t) + at] >> 4 : chunk[minima_at(t, tiles, 0) + at];
}

/// The code of one row and column of a tile.
static inline int code_at(int bits, const uint8_t* tile, int row, int col) {
  const Pieces pieces = pieces_of(bits, col / 4);
  int code = 0;
  for (int i = 0; i < pieces.count; ++i) {
    const Piece& p = pieces.piece[i];
    code |= (tile[64 * p.vector + 4 * row + col % 4] >> p.from & ((1 << p.count) - 1)) << p.to;
  }
  return code;
}

/// Tokens of a task where they are shared out over threads: a multiple of every kernel's group, and enough to make up
/// for decoding the weights once more.
inline constexpr int kTaskTokens = 192;

/// What a kernel does however many tokens there are has them for a limit.
inline constexpr int64_t kAnyTokens = INT64_MAX;

/// How many bytes ahead of what it reads a kernel asks memory for (0: it leaves that to hardware), and for which cache.
struct Prefetch {
  int bytes, cache;
};

/// Panels of more bytes are long: Zen 4 reads several of them at once faster than one, as its own prefetching follows
/// each; but it begins anew with each, so that short ones are read faster one after another, as they lie.
inline constexpr uint64_t kShortPanel = 32 << 10;

/// A packed matrix as kernels see it.
struct PackedView {
  const uint8_t* data;   ///< aligned to 64
  uint64_t panel_bytes;  ///< a multiple of 64
  int64_t rows, cols;
  Family family;
  uint8_t shared;     ///< see above; 0 for families with integer scales
  uint8_t table[16];  ///< table families: value + 128
};

/// 1.5 * 2^23, and its bits: with a whole number below 2^22 added they are those of the float kDotZero + that number,
/// so that dot products which start from kDotBits need no conversion.
inline constexpr float kDotZero = 0x1.8p23f;
inline constexpr int32_t kDotBits = 0x4b400000;
static_assert(__builtin_bit_cast(int32_t, kDotZero) == kDotBits);

/// Activations that are all smaller count as zeros: 127 / the greatest of them would be too large.
inline constexpr float kLeastActivation = 0x1p-100f;

/// 32 activations of one token: x[i] is about scale * codes[i].
struct alignas(64) ActivationTile {
  int8_t codes[kTileCols];       ///< in [-127, 127]; 0 beyond the last column
  float scale;                   ///< amax / 127
  float sum;                     ///< of the codes; exact
  float scaled_half_sum[2];      ///< scale * the sum of the first and the last 16
  int32_t start, half_start[2];  ///< what dots start from where 128 is taken off codes: kDotBits - 128 * sum
  int32_t start8;                ///< the same where 8 is taken off
};
static_assert(sizeof(ActivationTile) == 64);

/// Sets what follows from the scale and the sums of the first and the last 16 codes.
static inline void set_sums(ActivationTile& tile, int32_t first, int32_t last) {
  tile.sum = static_cast<float>(first + last);
  tile.scaled_half_sum[0] = tile.scale * static_cast<float>(first);
  tile.scaled_half_sum[1] = tile.scale * static_cast<float>(last);
  tile.start = kDotBits - 128 * (first + last);
  tile.start8 = kDotBits - 8 * (first + last);
  tile.half_start[0] = kDotBits - 128 * first;
  tile.half_start[1] = kDotBits - 128 * last;
}

/// Columns of a chunk.
inline constexpr int kChunkCols = kChunkTiles * kTileCols;
/// Of ActivationChunk: the largest shift, and what 16 codes may add up to, all of them taken positive, so that dots of
/// 16 codes with 6 bits fit into 16 bits.
inline constexpr int kMostShift = 12, kMostHalfSum = 1023;
static_assert(32 * kMostHalfSum < 1 << 15);

/// 256 activations of one token with one scale, that of each tile divided by a power of two: x[i] is about
/// scale * codes[i] / 2^shift[i / 32]. Products of weights with integer scales need no scale but these, so that they
/// are integers but for a few steps a chunk: see chunks_zen4.cc.
struct alignas(64) ActivationChunk {
  int8_t codes[kChunkCols];  ///< in [-127, 127]
  int32_t shift[kChunkTiles];
  /// What dots start from where an offset is taken off the codes of weights: -128 times the sum of a tile's codes
  /// above; 2^15 - 4 or 32 times the sum of the codes of half a tile, [half][tile].
  int32_t start128[kChunkTiles], half_start4[2][kChunkTiles], half_start32[2][kChunkTiles];
  /// Sums that are multiplied by minima, 16 bits each, about those of the activations / minimum_scale: of each two
  /// tiles, and of the halves of each tile, the first in the upper half.
  int32_t pair_sum[kChunkTiles / 2], half_sum[kChunkTiles];
  float scale, minimum_scale;
  int32_t shifted_off;  ///< by all shifts on average: half of what each takes off at most
};
static_assert(sizeof(ActivationChunk) == 512);

/// Prepared activations as kernels see them. Tokens lie in groups of `group` (the last may be smaller), so that what is
/// multiplied together lies together: of a group of w tokens, tile j of its token i (or, for floats, column j) is
/// element j * w + i. Of bfloat16, element j * w + i is the uint32 of columns 2 j (its lower half) and 2 j + 1, 0
/// beyond the last column.
struct ActivationView {
  const void* data;  ///< ActivationTile, ActivationChunk, float or uint32_t
  int64_t tokens, cols;
  int group;
};

}  // namespace lowbit
