#include "encoding/encoding.h"

#include <strings.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr Encoding plain(EncodingId id, std::string_view name, EncodingKind kind, int bytes) {
  return {id, name, kind, 1, 1, bytes, false, {}, 0, 0, 0, nullptr, nullptr, nullptr, nullptr};
}

constexpr Encoding kPlain[] = {
    plain(EncodingId::F32, "F32", EncodingKind::Float, 4),   plain(EncodingId::F16, "F16", EncodingKind::Float, 2),
    plain(EncodingId::BF16, "BF16", EncodingKind::Float, 2), plain(EncodingId::F64, "F64", EncodingKind::Raw, 8),
    plain(EncodingId::I8, "I8", EncodingKind::Raw, 1),       plain(EncodingId::U8, "U8", EncodingKind::Raw, 1),
    plain(EncodingId::I16, "I16", EncodingKind::Raw, 2),     plain(EncodingId::I32, "I32", EncodingKind::Raw, 4),
    plain(EncodingId::I64, "I64", EncodingKind::Raw, 8),     plain(EncodingId::Bool, "Bool", EncodingKind::Raw, 1),
};

std::vector<Encoding> build() {
  std::vector<Encoding> rows;
  for (const std::span<const Encoding> family : {std::span<const Encoding>(kPlain), legacy_encodings(),
                                                 kquant_encodings(), iq4_encodings(), lowered_encodings()}) {
    rows.insert(rows.end(), family.begin(), family.end());
  }
  std::sort(rows.begin(), rows.end(), [](const Encoding& a, const Encoding& b) { return a.id < b.id; });
  return rows;
}

void decode_blocks(const Encoding& encoding, const std::byte* in, int64_t count, float* out) {
  uint8_t codes[kMaxBlock];
  BlockHeader header;
  for (int64_t at = 0; at < count; at += encoding.block, in += encoding.block_bytes) {
    encoding.unpack(in, header, codes);
    const BlockGrid grid = encoding.grid(header);
    for (int s = 0; s < encoding.sub_blocks(); ++s) {
      const float scale = grid.scale[static_cast<size_t>(s)], min = grid.min[static_cast<size_t>(s)];
      for (int i = s * encoding.sub; i < (s + 1) * encoding.sub; ++i) {
        out[at + i] = scale * static_cast<float>(encoding.levels[codes[i]]) - min;
      }
    }
  }
}

}  // namespace

uint16_t finite_f16(float x) { return f32_to_f16(std::clamp(x, -65504.0F, 65504.0F)); }

BlockHeader snap_scale(const BlockWish& wish) {
  BlockHeader header;
  header.d = finite_f16(wish.scale[0]);
  return header;
}

BlockGrid grid_scale(const BlockHeader& header) {
  BlockGrid grid;
  grid.scale[0] = f16_to_f32(header.d);
  return grid;
}

std::span<const Encoding> encodings() {
  static const std::vector<Encoding> rows = build();
  return rows;
}

const Encoding& encoding(EncodingId id) { return encodings()[static_cast<size_t>(id)]; }

const Encoding* find_encoding(std::string_view name) {
  for (const Encoding& row : encodings()) {
    if (row.name.size() == name.size() && strncasecmp(row.name.data(), name.data(), name.size()) == 0) return &row;
  }
  return nullptr;
}

const Encoding* find_file_encoding(std::string_view name) {
  const Encoding* found = find_encoding(name);
  return found != nullptr && found->kind != EncodingKind::Raw && !found->run_only ? found : nullptr;
}

void decode(const Encoding& encoding, const std::byte* in, int64_t count, float* out) {
  const auto n = static_cast<size_t>(count);
  if (encoding.kind == EncodingKind::Block) return decode_blocks(encoding, in, count, out);
  if (encoding.id == EncodingId::F32) {
    std::memcpy(out, in, n * sizeof(float));
    return;
  }
  if (encoding.id == EncodingId::F16) {
    for (size_t i = 0; i < n; ++i) out[i] = f16_to_f32(load_u16(in + 2 * i));
  } else {
    for (size_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load_u16(in + 2 * i));
  }
}

void encode_float(const Encoding& encoding, const float* in, int64_t count, std::byte* out) {
  const auto n = static_cast<size_t>(count);
  if (encoding.id == EncodingId::F32) {
    std::memcpy(out, in, n * sizeof(float));
    return;
  }
  if (encoding.id == EncodingId::F16) {
    for (size_t i = 0; i < n; ++i) store_u16(out + 2 * i, f32_to_f16(in[i]));
  } else {
    for (size_t i = 0; i < n; ++i) store_u16(out + 2 * i, f32_to_bf16(in[i]));
  }
}

}  // namespace lowbit
