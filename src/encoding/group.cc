#include "encoding/group.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/half.h"
#include "base/large_pages.h"

namespace lowbit {
namespace {

constexpr int64_t kMostWeights = int64_t{1} << 40;

constexpr std::array<float, 16> kNf4 = {-1.0F,
                                        -0.6961928009986877F,
                                        -0.5250730514526367F,
                                        -0.39491748809814453F,
                                        -0.28444138169288635F,
                                        -0.18477343022823334F,
                                        -0.09105003625154495F,
                                        0.0F,
                                        0.07958029955625534F,
                                        0.16093020141124725F,
                                        0.24611230194568634F,
                                        0.33791524171829224F,
                                        0.44070982933044434F,
                                        0.5626170039176941F,
                                        0.7229568362236023F,
                                        1.0F};

constexpr std::array<float, 16> make_fp4() {
  constexpr float kSteps[8] = {0, 0.0625F, 8, 12, 4, 6, 2, 3};
  std::array<float, 16> out{};
  for (size_t i = 0; i < 8; ++i) {
    out[i] = kSteps[i] / 12;
    out[i + 8] = -kSteps[i] / 12;
  }
  return out;
}
constexpr std::array<float, 16> kFp4 = make_fp4();

constexpr std::array<float, 256> make_integers() {
  std::array<float, 256> out{};
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(i);
  return out;
}
constexpr std::array<float, 256> kIntegers = make_integers();

std::array<float, 256> make_dynamic_map() {
  std::vector<float> values = {0.0F, 1.0F};
  for (int i = 0; i < 7; ++i) {
    const int points = (1 << i) + 1;
    // torch's linspace(0.1, 1, points): binary32, fused, from either end to the middle.
    const float step = (1.0F - 0.1F) / static_cast<float>(points - 1);
    const auto point = [&](int k) {
      const auto left = static_cast<float>(k), right = static_cast<float>(points - 1 - k);
      return k < points / 2 ? std::fma(step, left, 0.1F) : std::fma(-step, right, 1.0F);
    };
    const auto power = static_cast<float>(std::pow(10.0, i - 6));
    for (int k = 0; k + 1 < points; ++k) {
      const float mean = (point(k) + point(k + 1)) / 2.0F;
      const float value = power * mean;
      values.push_back(value);
      values.push_back(-value);
    }
  }
  std::sort(values.begin(), values.end());
  std::array<float, 256> out{};
  std::copy(values.begin(), values.end(), out.begin());
  return out;
}

float rounded_to(EncodingId number, float value) {
  switch (number) {
    case EncodingId::F16:
      return f16_to_f32(f32_to_f16(std::clamp(value, -65504.0F, 65504.0F)));
    case EncodingId::BF16: {
      constexpr float kMost = 0x1.fep127F;
      return bf16_to_f32(f32_to_bf16(std::clamp(value, -kMost, kMost)));
    }
    default:
      return value;
  }
}

}  // namespace

std::span<const float> group_levels(const GroupFormat& format) {
  if (format.levels == GroupLevels::NF4) return kNf4;
  if (format.levels == GroupLevels::FP4) return kFp4;
  return std::span(kIntegers).first(static_cast<size_t>(format.codes()));
}

int64_t groups_per_row(const GroupFormat& format, int64_t cols) {
  return format.group == 0 ? 1 : (cols + format.group - 1) / format.group;
}

int64_t group_count(const GroupFormat& format, int64_t rows, int64_t cols) {
  switch (format.span) {
    case GroupSpan::Row:
      return rows * groups_per_row(format, cols);
    case GroupSpan::Flat:
      return format.group == 0 ? rows : (rows * cols + format.group - 1) / format.group;
    case GroupSpan::Strided:
      return format.group == 0 ? cols : rows * cols / format.group;
    case GroupSpan::Tensor:
      return 1;
  }
  return 0;
}

double bits_per_weight(const GroupFormat& format, int64_t rows, int64_t cols) {
  const int number = encoding(format.number).block_bytes * 8;
  double per_group = number;
  if (format.doubly_quantized) per_group = 8 + static_cast<double>(number) / kScaleBlock;
  if (format.zero == GroupZero::Integer) per_group += format.bits;
  if (format.zero == GroupZero::Float) per_group += number;
  return format.bits + per_group * static_cast<double>(group_count(format, rows, cols)) /
                           (static_cast<double>(rows) * static_cast<double>(cols));
}

float snap_number(const GroupFormat& format, float value) { return rounded_to(format.number, value); }

float snap_zero(const GroupFormat& format, float zero) {
  switch (format.zero) {
    case GroupZero::Fixed:
      return format.fixed_zero();
    case GroupZero::Integer:
      return std::clamp(std::nearbyint(zero), static_cast<float>(format.lowest_zero),
                        static_cast<float>(format.codes() - 1));
    case GroupZero::Float:
      return rounded_to(format.number, zero);
  }
  return 0;
}

void GroupMatrix::resize() {
  int64_t count = 0;
  if (rows <= 0 || cols <= 0 || __builtin_mul_overflow(rows, cols, &count) || count > kMostWeights) {
    fail("a matrix of {} x {} weights cannot be held", rows, cols);
  }
  codes = large_vector<uint8_t>(static_cast<size_t>(count));
  const auto groups = static_cast<size_t>(group_count(format, rows, cols));
  scales.assign(groups, 0);
  zeros.assign(format.zero == GroupZero::Fixed ? 0 : groups, 0);
}

void GroupMatrix::set_scales(std::span<const float> wanted) {
  if (format.doubly_quantized) {
    quantized_scales = quantize_scales(wanted);
    scales = dequantize_scales(quantized_scales);
    return;
  }
  scales.resize(wanted.size());
  std::transform(wanted.begin(), wanted.end(), scales.begin(), [&](float s) { return snap_number(format, s); });
}

int64_t GroupMatrix::group_index(int64_t r, int64_t c) const {
  switch (format.span) {
    case GroupSpan::Row: {
      const int64_t in_row = !group_of_column.empty() ? group_of_column[static_cast<size_t>(c)]
                             : format.group == 0      ? 0
                                                      : c / format.group;
      return r * groups_per_row(format, cols) + in_row;
    }
    case GroupSpan::Flat:
      return format.group == 0 ? r : (r * cols + c) / format.group;
    case GroupSpan::Strided:
      return (r * cols + c) % static_cast<int64_t>(scales.size());
    case GroupSpan::Tensor:
      return 0;
  }
  return 0;
}

void decode_rows(const GroupMatrix& matrix, int64_t begin, int64_t count, float* out) {
  const std::span<const float> levels = group_levels(matrix.format);
  const uint8_t* codes = matrix.codes.data() + begin * matrix.cols;
  for (int64_t r = begin; r < begin + count; ++r, out += matrix.cols, codes += matrix.cols) {
    for (int64_t c = 0; c < matrix.cols; ++c) {
      const int64_t group = matrix.group_index(r, c);
      out[c] = matrix.scales[static_cast<size_t>(group)] * (levels[codes[c]] - matrix.zero_at(group));
    }
  }
}

void decode(const GroupMatrix& matrix, float* out) { decode_rows(matrix, 0, matrix.rows, out); }

std::span<const float> dynamic_map() {
  static const std::array<float, 256> map = make_dynamic_map();
  return map;
}

QuantizedScales quantize_scales(std::span<const float> scales) {
  const std::span<const float> map = dynamic_map();
  QuantizedScales out;
  out.codes.resize(scales.size());
  double sum = 0;
  for (const float s : scales) sum += s;
  out.offset = scales.empty() ? 0 : static_cast<float>(sum / static_cast<double>(scales.size()));
  for (size_t begin = 0; begin < scales.size(); begin += kScaleBlock) {
    const size_t end = std::min(scales.size(), begin + kScaleBlock);
    float most = 0;
    for (size_t i = begin; i < end; ++i) most = std::max(most, std::fabs(scales[i] - out.offset));
    out.block_scale.push_back(most);
    const float inverse = most > 0 ? 1 / most : 0;
    for (size_t i = begin; i < end; ++i) {
      const float x = std::clamp((scales[i] - out.offset) * inverse, -1.0F, 1.0F);
      const auto above = std::lower_bound(map.begin(), map.end(), x);
      auto nearest = above == map.end() ? above - 1 : above;
      if (nearest != map.begin() && x - *(nearest - 1) <= *nearest - x) --nearest;
      out.codes[i] = static_cast<uint8_t>(nearest - map.begin());
    }
  }
  return out;
}

std::vector<float> dequantize_scales(const QuantizedScales& scales) {
  const std::span<const float> map = dynamic_map();
  std::vector<float> out(scales.codes.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = map[scales.codes[i]] * scales.block_scale[i / kScaleBlock] + scales.offset;
  }
  return out;
}

}  // namespace lowbit
