#include "encoding/group_lower.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/half.h"

namespace lowbit {
namespace {

constexpr int64_t kBlock = 32;

/// The encoding for codes of this format, if blocks of 32 have one scale and zero.
EncodingId block_encoding(const GroupFormat& f) {
  if (f.levels == GroupLevels::NF4) return EncodingId::NF4;
  if (f.zero == GroupZero::Fixed && f.bits == 4) return EncodingId::Q4_0;
  if (f.zero == GroupZero::Fixed && f.bits == 8) return EncodingId::Q8_0;
  return f.bits <= 2 ? EncodingId::Z2 : f.bits == 3 ? EncodingId::Z3 : f.bits == 4 ? EncodingId::Z4 : EncodingId::Z8;
}

/// Columns by group, if every block of 32 is then of one group; empty otherwise.
std::vector<int32_t> together(const std::vector<int32_t>& group_of_column) {
  std::vector<int32_t> order(group_of_column.size());
  std::iota(order.begin(), order.end(), 0);
  const auto group = [&](int32_t c) { return group_of_column[static_cast<size_t>(c)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return group(a) < group(b); });
  for (size_t c = 0; c < order.size(); c += kBlock) {
    if (c + kBlock > order.size() || group(order[c]) != group(order[c + kBlock - 1])) return {};
  }
  return order;
}

/// What scales are divided by: the level of the block encoding that stands for 1.
float table_factor(const GroupFormat& f) { return f.levels == GroupLevels::NF4 ? 112.05F : 1.0F; }

}  // namespace

Lowering lowering_of(const GroupFormat& f, int64_t rows, int64_t cols, const std::vector<int32_t>& group_of_column) {
  if (f.levels == GroupLevels::FP4) return {&encoding(EncodingId::F16), {}};
  const Lowering floats{&encoding(EncodingId::F32), {}};
  if (cols % kBlock != 0 || (f.span == GroupSpan::Strided && rows * cols > 1)) return floats;
  const Lowering blocks{&encoding(block_encoding(f)), {}};
  if (!group_of_column.empty()) {
    Lowering out = blocks;
    out.column_order = together(group_of_column);
    return out.column_order.empty() ? floats : out;
  }
  const bool aligned =
      f.group % kBlock == 0 || f.span == GroupSpan::Tensor || (f.span == GroupSpan::Row && f.group >= cols);
  return aligned ? blocks : floats;
}

void lower_rows(const GroupMatrix& m, const Lowering& lowering, int64_t begin, int64_t count, const std::string& where,
                std::byte* out) {
  const Encoding& e = *lowering.encoding;
  if (e.kind == EncodingKind::Float) {
    std::vector<float> row(static_cast<size_t>(m.cols));
    for (int64_t r = begin; r < begin + count; ++r, out += e.bytes(row.size())) {
      decode_rows(m, r, 1, row.data());
      encode_float(e, row.data(), m.cols, out);
    }
    return;
  }
  const float inverse = 1 / table_factor(m.format);
  uint8_t gathered[kBlock];
  for (int64_t r = begin; r < begin + count; ++r) {
    const uint8_t* codes = m.codes.data() + r * m.cols;
    for (int64_t c = 0; c < m.cols; c += kBlock, out += e.block_bytes) {
      const int64_t first = lowering.column_order.empty() ? c : lowering.column_order[static_cast<size_t>(c)];
      const int64_t group = m.group_index(r, first);
      const float scale = m.scales[static_cast<size_t>(group)] * inverse;
      if (!(std::fabs(scale) <= 65504.0F)) fail("{}: scale {} is beyond what binary16 holds", where, scale);
      BlockHeader header;
      header.d = f32_to_f16(scale);
      // Z8's codes stand for -128 ... 127.
      const float zero = m.zero_at(group) - (e.id == EncodingId::Z8 ? 128.0F : 0.0F);
      if (e.has_min) header.dmin = f32_to_f16(std::clamp(zero, -65504.0F, 65504.0F));
      const uint8_t* block = codes + c;
      if (!lowering.column_order.empty()) {
        for (int64_t i = 0; i < kBlock; ++i) gathered[i] = codes[lowering.column_order[static_cast<size_t>(c + i)]];
        block = gathered;
      }
      e.pack(header, block, out);
    }
  }
}

}  // namespace lowbit
