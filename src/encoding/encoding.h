// Encodings: how a block of weights is stored. Each is one row of facts and four pure functions over one block; it
// never knows which method chose the numbers, nor which file they go to.
//
// Every value that a reader decodes is, bit for bit in binary32, scale[s] * levels[code] - min[s], where s = i / sub is
// the sub-block of weight i. (Layouts: ggml-common.h of llama.cpp, whose field order is kept.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lowbit {

enum class EncodingId : uint8_t {
  F32,
  F16,
  BF16,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  IQ4_NL,
  IQ4_XS,
  // Run only: what grouped weights (group.h) are lowered to.
  Z2,
  Z3,
  Z4,
  Z8,
  NF4,
  // Never weights that are multiplied: what else a file may hold.
  F64,
  I8,
  U8,
  I16,
  I32,
  I64,
  Bool,
};

enum class EncodingKind : uint8_t { Float, Block, Raw };

inline constexpr int kMaxBlock = 256;     ///< weights in the largest block
inline constexpr int kMaxSubBlocks = 16;  ///< sub-blocks in a block

/// The numbers that a block stores beside its codes, as stored. What a format lacks stays 0. Kept as integers, because
/// (6-bit, f16) pairs cannot be recovered from their product.
struct BlockHeader {
  uint16_t d = 0;  ///< binary16 bits: the block's scale, or what sub-block scales multiply
  /// binary16 bits: the block's minimum, or what sub-block minima multiply, or (Z) the zero point in units of d
  uint16_t dmin = 0;
  std::array<int8_t, kMaxSubBlocks> scale{};  ///< integer scale per sub-block, its bias already taken off
  std::array<uint8_t, kMaxSubBlocks> min{};   ///< integer minimum per sub-block
  bool operator==(const BlockHeader&) const = default;
};

/// The floats that a reader computes from a BlockHeader: a weight of sub-block s decodes to
/// scale[s]*levels[code]-min[s].
struct BlockGrid {
  std::array<float, kMaxSubBlocks> scale{}, min{};
};

/// What the sub-blocks of one block want, before the format had its say. Arrays hold block/sub entries.
struct BlockWish {
  std::array<float, kMaxSubBlocks> scale{};
  std::array<float, kMaxSubBlocks> min{};         ///< value = scale*level - min; 0 where the encoding has no minimum
  std::array<float, kMaxSubBlocks> importance{};  ///< how much each sub-block matters when they share numbers
};

struct Encoding {
  EncodingId id;
  std::string_view name;  ///< as users and GGUF write it: "Q4_K"
  EncodingKind kind;
  int block;                       ///< weights a block; 1 for Float and Raw
  int sub;                         ///< weights a sub-block: one scale and minimum each
  int block_bytes;                 ///< stored bytes a block
  bool has_min;                    ///< minima are stored; otherwise min is always 0
  std::span<const int8_t> levels;  ///< Block only: what code c stands for, ascending
  /// Where sub-blocks share binary16 units: the range of BlockHeader::scale, and the greatest BlockHeader::min.
  /// All 0 where each has its own.
  int lowest_scale, highest_scale, highest_min;

  /// Block only. The nearest header that the format can store.
  BlockHeader (*snap)(const BlockWish& wish);
  /// Block only. The exact floats of a header.
  BlockGrid (*grid)(const BlockHeader& header);
  /// Block only. codes[block] (each < levels.size()) -> out[block_bytes].
  void (*pack)(const BlockHeader& header, const uint8_t* codes, std::byte* out);
  /// Block only. in[block_bytes] -> header and codes[block]. A block of 32 begins with d, then dmin if has_min.
  void (*unpack)(const std::byte* in, BlockHeader& header, uint8_t* codes);

  /// Made at load from grouped weights (group_lower.h); found in no file, and no scheme.
  bool run_only = false;

  int sub_blocks() const { return block / sub; }
  double bits_per_weight() const { return 8.0 * block_bytes / block; }
  /// Bytes of `count` weights; count must be a multiple of `block`.
  uint64_t bytes(uint64_t count) const {
    return count / static_cast<uint64_t>(block) * static_cast<uint64_t>(block_bytes);
  }
};

/// The row of an encoding.
const Encoding& encoding(EncodingId id);
/// All rows, in EncodingId's order.
std::span<const Encoding> encodings();
/// The row of a name, in any letter case; nullptr if there is none.
const Encoding* find_encoding(std::string_view name);
/// The same among those that a GGUF file may hold: nullptr for raw and run-only ones, too.
const Encoding* find_file_encoding(std::string_view name);

/// Decodes `count` weights (a multiple of the block) of a Float or Block encoding to binary32: the oracle that every
/// kernel is tested against, bit for bit what llama.cpp's reference decoder computes.
void decode(const Encoding& encoding, const std::byte* in, int64_t count, float* out);

/// Rounds `count` values to F32, F16 or BF16 (nearest, ties to even).
void encode_float(const Encoding& encoding, const float* in, int64_t count, std::byte* out);

}  // namespace lowbit
