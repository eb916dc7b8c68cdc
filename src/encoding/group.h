// Grouped encodings: codes apart from their scales and zero points, as the safetensors dialects keep them (GPTQ, AWQ,
// bitsandbytes, HQQ, EETQ, compressed-tensors). Which tensors hold the pieces, and in what order of bits, is a
// dialect's matter (container/dialects/); which numbers they are is a method's (quantize/).
//
// Every value that a reader decodes is, in binary32, scale * (level(code) - zero).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "encoding/encoding.h"

namespace lowbit {

/// What a code stands for before its zero is taken off.
enum class GroupLevels : uint8_t {
  Integer,  ///< the code itself, 0 ... 2^bits - 1
  NF4,      ///< quantiles of the normal distribution within [-1, 1], ascending (QLoRA, arXiv 2305.14314)
  FP4,      ///< sign, 2 bits of exponent, 1 of mantissa, as bitsandbytes orders and scales them: not ascending
};

enum class GroupZero : uint8_t {
  Fixed,    ///< none is stored: 2^(bits - 1) for integers, 0 for tables
  Integer,  ///< an integer of [lowest_zero, 2^bits - 1]
  Float,    ///< any number of the scale's type
};

/// Which weights share a scale.
enum class GroupSpan : uint8_t {
  Row,      ///< `group` consecutive columns of one row; the last group of a row may be shorter
  Flat,     ///< `group` consecutive weights of the whole row-major tensor; the last group may be shorter
  Strided,  ///< weights whose flat indices are equal modulo the number of groups (HQQ's axis 0)
  Tensor,   ///< all
};

struct GroupFormat {
  int bits = 4;  ///< 1 to 8; 4 for tables
  GroupLevels levels = GroupLevels::Integer;
  GroupZero zero = GroupZero::Fixed;
  GroupSpan span = GroupSpan::Row;
  int64_t group = 0;                    ///< weights that share a scale; 0: a whole row. No meaning for Tensor
  EncodingId number = EncodingId::F16;  ///< how scales (and Float zeros) are stored: F16, BF16 or F32
  int lowest_zero = 0;                  ///< Integer zeros: 1 where a reader would misread 0 (GPTQ's first version)
  bool doubly_quantized = false;        ///< scales are themselves 8-bit, over the whole tensor: see quantize_scales()
  bool operator==(const GroupFormat&) const = default;

  int codes() const { return 1 << bits; }
  /// What is taken off where no zero is stored.
  float fixed_zero() const { return levels == GroupLevels::Integer ? static_cast<float>(1 << (bits - 1)) : 0; }
};

/// level(code) for each code: codes() floats.
std::span<const float> group_levels(const GroupFormat& format);

/// Groups of a row (Row), or of a whole rows x cols tensor; each has its scale and zero.
int64_t groups_per_row(const GroupFormat& format, int64_t cols);
int64_t group_count(const GroupFormat& format, int64_t rows, int64_t cols);

/// True bits per weight of codes, scales and zeros (an Integer zero has `bits` bits), whatever padding a dialect adds.
double bits_per_weight(const GroupFormat& format, int64_t rows, int64_t cols);

/// The nearest scale (or Float zero) that the format can store, finite. Not for doubly quantized scales.
float snap_number(const GroupFormat& format, float value);
/// The nearest zero that the format can store. `scale` has been snapped.
float snap_zero(const GroupFormat& format, float zero);

/// Scales in 8 bits, as bitsandbytes has them: scale[i] = map[codes[i]] * block_scale[i / 256] + offset, in binary32.
struct QuantizedScales {
  std::vector<uint8_t> codes;
  std::vector<float> block_scale;  ///< one per kScaleBlock scales
  float offset = 0;                ///< the mean of the scales
};
inline constexpr int64_t kScaleBlock = 256;
/// bitsandbytes' "dynamic map": 256 ascending values from -0.99 to 1 whose spacing shrinks towards 0.
std::span<const float> dynamic_map();
QuantizedScales quantize_scales(std::span<const float> scales);
std::vector<float> dequantize_scales(const QuantizedScales& scales);

/// A weight matrix [rows, cols] in a grouped format: the numbers as a reader computes them.
struct GroupMatrix {
  GroupFormat format;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> codes;  ///< [rows * cols], row-major, one code a byte
  /// [rows * groups_per_row], row-major (Row), or [group_count].
  std::vector<float> scales;
  std::vector<float> zeros;  ///< as `scales`; empty for Fixed
  /// Row only: the group of each column, where it is not column / group (activation order); empty otherwise.
  std::vector<int32_t> group_of_column;

  /// Of the inputs, where the file holds one for them (static activations); 0: none.
  float input_scale = 0;

  QuantizedScales quantized_scales;  ///< what `scales` were computed from, if doubly quantized

  /// Room for all of it, zeroed. Throws Error if rows * cols overflows or is too much to hold.
  void resize();
  /// The index into scales and zeros of weight (r, c).
  int64_t group_index(int64_t r, int64_t c) const;
  /// Sets all scales (as many as there are groups) to the nearest that the format can store.
  void set_scales(std::span<const float> wanted);
  float zero_at(int64_t group) const { return zeros.empty() ? format.fixed_zero() : zeros[static_cast<size_t>(group)]; }
};

/// Decodes rows [begin, begin + count) to out[count * cols].
void decode_rows(const GroupMatrix& matrix, int64_t begin, int64_t count, float* out);
void decode(const GroupMatrix& matrix, float* out);

}  // namespace lowbit
