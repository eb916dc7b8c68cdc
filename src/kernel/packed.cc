#include "kernel/packed.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "base/half.h"
#include "base/large_pages.h"

namespace lowbit {
namespace {

uint64_t float_size(Family family) { return family == Family::F32 ? 4 : 2; }

/// Bytes of a panel of `cols` columns, or false on overflow.
bool panel_size(Family family, int64_t cols, int shared, uint64_t& bytes) {
  const FamilyTraits t = traits(family);
  const uint64_t n = static_cast<uint64_t>(cols);
  if (n > uint64_t{1} << 48) return false;
  if (t.is_float) {
    bytes = (n * kPanelRows * float_size(family) + 63) / 64 * 64;
    return true;
  }
  bytes = tiles_bytes(t, cols / kTileCols, shared);
  return true;
}

void put16(uint8_t* out, uint16_t value) { std::memcpy(out, &value, sizeof value); }
uint16_t get16(const uint8_t* in) {
  uint16_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}

/// Puts the codes of one row's 32 columns into a tile, 4 columns at a time.
template <int kBits>
void put_codes_of(uint8_t* tile, int row, const uint8_t* codes) {
  uint32_t groups[8], vectors[kBits] = {};
  std::memcpy(groups, codes, sizeof groups);
  const auto put = [&]<int kGroup>(std::integral_constant<int, kGroup>) {
    constexpr Pieces kPieces = pieces_of(kBits, kGroup);
    for (int i = 0; i < kPieces.count; ++i) {
      const Piece& p = kPieces.piece[i];
      vectors[p.vector] |= (groups[kGroup] >> p.to & 0x01010101u * ((1u << p.count) - 1)) << p.from;
    }
  };
  [&]<int... kGroups>(std::integer_sequence<int, kGroups...>) { (put(std::integral_constant<int, kGroups>()), ...); }
  (std::make_integer_sequence<int, 8>());
  for (int v = 0; v < kBits; ++v) std::memcpy(tile + 64 * v + 4 * row, &vectors[v], sizeof vectors[v]);
}

void put_codes(int bits, uint8_t* tile, int row, const uint8_t* codes) {
  switch (bits) {
    case 2:
      return put_codes_of<2>(tile, row, codes);
    case 3:
      return put_codes_of<3>(tile, row, codes);
    case 4:
      return put_codes_of<4>(tile, row, codes);
    case 5:
      return put_codes_of<5>(tile, row, codes);
    case 6:
      return put_codes_of<6>(tile, row, codes);
    default:
      return put_codes_of<8>(tile, row, codes);
  }
}

/// The integer scales of one row's block of 256.
void put_sub_scales(const Encoding& encoding, FamilyTraits t, const BlockHeader& header, uint8_t* chunk, int tiles,
                    int row) {
  put16(chunk + d_at(t) + 2 * row, header.d);
  if (t.minima) put16(chunk + 2 * kPanelRows + 2 * row, header.dmin);
  for (int s = 0; s < encoding.sub_blocks(); ++s) {
    const int scale = header.scale[static_cast<size_t>(s)], at = s * kPanelRows + row;
    const uint8_t minimum = header.min[static_cast<size_t>(s)];
    if (split_scales(t)) {
      const int tile = s / 2, stored = scale + 32;
      chunk[kPanelRows * tile + row] |= static_cast<uint8_t>((stored & 15) << (4 * (s % 2)));
      chunk[kUpperScalesAt + kPanelRows * (tile % 4) + row] |=
          static_cast<uint8_t>(stored >> 4 << upper_scale_bit(tile, s % 2));
      continue;
    }
    chunk[scales_at(t) + at] = static_cast<uint8_t>(t.bits == 2 ? scale | minimum << 4 : scale);
    if (t.minima && t.bits != 2) chunk[minima_at(t, tiles, 0) + at] = minimum;
  }
}

/// One row's block of the source into a chunk (or, for blocks of 32, into tile `tile` of a chunk of `tiles`).
void put_block(const Encoding& encoding, FamilyTraits t, const std::byte* block, uint8_t* chunk, int tiles, int shared,
               int tile, int row) {
  BlockHeader header;
  std::array<uint8_t, kMaxBlock> codes;
  encoding.unpack(block, header, codes.data());
  if (t.sub_scales == 0) {
    const int at = ((tile >> shared) * kPanelRows + row) * 2;
    put16(chunk + at, header.d);
    if (t.minima) {
      // A minimum's own form differs between encodings; the grid's does not, and is exactly binary16.
      const uint16_t minimum = t.zeros ? header.dmin : f32_to_f16(encoding.grid(header).min[0]);
      put16(chunk + minima_at(t, tiles, shared) + at, minimum);
    }
  } else {
    put_sub_scales(encoding, t, header, chunk, tiles, row);
  }
  uint8_t* vectors = chunk + header_bytes(t, tiles, shared) + tile * tile_bytes(t);
  for (int i = 0; i < encoding.block; i += kTileCols, vectors += tile_bytes(t)) {
    uint8_t* of_tile = codes.data() + i;
    // Code 0 stands for the encoding's lowest level; the layout's for -128.
    for (int c = 0; c < kTileCols && t.bits == 8; ++c)
      of_tile[c] = static_cast<uint8_t>(of_tile[c] + 128 + encoding.levels[0]);
    put_codes(t.bits, vectors, row, of_tile);
  }
}

struct Source {
  const Encoding& encoding;
  const std::byte* data;
  const int64_t* row_order;
  int64_t rows, cols;

  const std::byte* row(int64_t r) const {
    const uint64_t stride = encoding.bytes(static_cast<uint64_t>(cols));
    return data + static_cast<uint64_t>(row_order != nullptr ? row_order[r] : r) * stride;
  }
};

/// The largest `shared` for which the blocks of 2^shared neighbouring tiles have the same header in each row: files
/// whose groups are longer than a tile. Found at once where there is nothing to share.
int shared_scales(const Source& source, ThreadPool& pool) {
  static_assert(1 << kMostShared == kChunkTiles);
  const Encoding& encoding = source.encoding;
  if (encoding.block != kTileCols) return 0;
  // Blocks of 32 begin with their header, a scale and a minimum if there is one, in binary16.
  const size_t header = encoding.has_min ? 4 : 2;
  std::atomic<int> least = kMostShared;
  pool.run(source.rows, [&](int64_t row, int) {
    const std::byte* in = source.row(row);
    const auto block = [&](int64_t tile) { return in + tile * encoding.block_bytes; };
    int shared = least;
    for (int64_t tile = 0; tile < source.cols / kTileCols && shared > 0; ++tile) {
      while (shared > 0 && std::memcmp(block(tile), block(tile >> shared << shared), header) != 0) --shared;
    }
    for (int seen = least; shared < seen && !least.compare_exchange_weak(seen, shared);) {
    }
  });
  return least;
}

template <typename Value>
void turn(const Source& source, int64_t first_row, int count, int64_t begin, uint8_t* out) {
  for (int row = 0; row < count; ++row) {
    const std::byte* in = source.row(first_row + row);
    for (int64_t c = begin; c < source.cols; ++c) {
      std::memcpy(out + static_cast<size_t>(c * kPanelRows + row) * sizeof(Value),
                  in + static_cast<size_t>(c) * sizeof(Value), sizeof(Value));
    }
  }
}

using Eight = uint16_t __attribute__((vector_size(16)));

/// Transposes v[8]: each round rotates the bits of an element's place, row and lane, by one.
void transpose(Eight* v) {
  for (int round = 0; round < 3; ++round) {
    Eight to[8];
    for (int i = 0; i < 4; ++i) {
      to[2 * i] = __builtin_shufflevector(v[i], v[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      to[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    std::copy_n(to, 8, v);
  }
}

/// Turns all columns of 16 bits in whole groups of eight; the number that it did.
int64_t turn_groups(const Source& source, int64_t first_row, uint8_t* out) {
  const int64_t whole = source.cols / 8 * 8;
  const std::byte* rows[kPanelRows];
  for (int row = 0; row < kPanelRows; ++row) rows[row] = source.row(first_row + row);
  for (int64_t c = 0; c < whole; c += 8) {
    for (int group = 0; group < kPanelRows; group += 8) {
      Eight v[8];
      for (int i = 0; i < 8; ++i) std::memcpy(&v[i], rows[group + i] + c * 2, sizeof(Eight));
      transpose(v);
      for (int i = 0; i < 8; ++i) std::memcpy(out + ((c + i) * kPanelRows + group) * 2, &v[i], sizeof(Eight));
    }
  }
  return whole;
}

void pack_float_panel(const Source& source, int64_t first_row, int count, uint8_t* out) {
  if (source.encoding.block_bytes == sizeof(float)) return turn<float>(source, first_row, count, 0, out);
  const int64_t done = count == kPanelRows ? turn_groups(source, first_row, out) : 0;
  turn<uint16_t>(source, first_row, count, done, out);
}

void pack_panel(const Source& source, FamilyTraits t, int shared, int64_t first_row, int count, uint8_t* out) {
  const Encoding& encoding = source.encoding;
  const int64_t tiles = source.cols / kTileCols;
  const int block_tiles = encoding.block / kTileCols;
  for (int row = 0; row < count; ++row) {
    const std::byte* in = source.row(first_row + row);
    uint8_t* chunk = out;
    for (int64_t done = 0; done < tiles; done += kChunkTiles) {
      const int n = static_cast<int>(std::min<int64_t>(kChunkTiles, tiles - done));
      for (int tile = 0; tile < n; tile += block_tiles, in += encoding.block_bytes) {
        put_block(encoding, t, in, chunk, n, shared, tile, row);
      }
      chunk += chunk_bytes(t, n, shared);
    }
  }
}

/// scale * code - minimum of one row of a tile, in binary32, as decode() computes it.
void unpack_row(const PackedView& view, FamilyTraits t, const uint8_t* chunk, int tiles, int tile, int row,
                float* out) {
  const uint8_t* vectors = chunk + header_bytes(t, tiles, view.shared) + tile * tile_bytes(t);
  for (int c = 0; c < kTileCols; ++c) {
    int code = code_at(t.bits, vectors, row, c);
    if (t.table) code = view.table[code];
    if (has_offset(t)) code -= 1 << offset_shift(t);
    float scale, minimum = 0;
    if (t.sub_scales == 0) {
      const int at = ((tile >> view.shared) * kPanelRows + row) * 2;
      scale = f16_to_f32(get16(chunk + at));
      if (t.minima) minimum = f16_to_f32(get16(chunk + minima_at(t, tiles, view.shared) + at));
      if (t.zeros) minimum *= scale;
    } else {
      const int part = c * t.sub_scales / kTileCols, s = sub_scale(t, chunk, tile, part, row);
      scale = f16_to_f32(get16(chunk + d_at(t) + 2 * row)) * static_cast<float>(s);
      if (t.minima) {
        minimum = f16_to_f32(get16(chunk + 2 * kPanelRows + 2 * row)) *
                  static_cast<float>(sub_minimum(t, chunk, tiles, tile, part, row));
      }
    }
    out[c] = scale * static_cast<float>(code) - minimum;
  }
}

}  // namespace

void PackedMatrix::Free::operator()(uint8_t* p) const { std::free(p); }

std::optional<Family> family_of(const Encoding& encoding) {
  switch (encoding.id) {
    case EncodingId::F32:
      return Family::F32;
    case EncodingId::F16:
      return Family::F16;
    case EncodingId::BF16:
      return Family::BF16;
    case EncodingId::Q4_0:
      return Family::S4;
    case EncodingId::Q4_1:
      return Family::M4;
    case EncodingId::Q5_0:
      return Family::S5;
    case EncodingId::Q5_1:
      return Family::M5;
    case EncodingId::Q8_0:
      return Family::S8;
    case EncodingId::Q2_K:
      return Family::K2;
    case EncodingId::Q3_K:
      return Family::K3;
    case EncodingId::Q4_K:
      return Family::K4;
    case EncodingId::Q5_K:
      return Family::K5;
    case EncodingId::Q6_K:
      return Family::K6;
    case EncodingId::IQ4_NL:
      return Family::T4;
    case EncodingId::IQ4_XS:
      return Family::TK4;
    case EncodingId::NF4:
      return Family::T4;
    case EncodingId::Z2:
      return Family::Z2;
    case EncodingId::Z3:
      return Family::Z3;
    case EncodingId::Z4:
      return Family::Z4;
    case EncodingId::Z8:
      return Family::Z8;
    default:
      return std::nullopt;
  }
}

std::span<const std::byte> PackedMatrix::panel_bytes(int64_t begin, int64_t end) const {
  return {reinterpret_cast<const std::byte*>(view_.data) + static_cast<uint64_t>(begin) * view_.panel_bytes,
          static_cast<size_t>(end - begin) * view_.panel_bytes};
}

PackedMatrix PackedMatrix::of_shape(const Encoding& encoding, int64_t rows, int64_t cols, int shared) {
  PackedMatrix matrix;
  PackedView& view = matrix.view_;
  const std::optional<Family> family = family_of(encoding);
  if (!family) fail("{}: there is no kernel that multiplies this type", encoding.name);
  if (rows <= 0 || cols <= 0 || cols % encoding.block != 0) {
    fail("a {} matrix of {} rows and {} columns: columns must be a multiple of {}", encoding.name, rows, cols,
         encoding.block);
  }
  view.family = *family;
  view.rows = rows;
  view.cols = cols;
  view.shared = static_cast<uint8_t>(shared);
  matrix.source_ = &encoding;
  if (traits(view.family).table) {
    for (size_t i = 0; i < 16; ++i) view.table[i] = static_cast<uint8_t>(encoding.levels[i] + 128);
  }

  uint64_t bytes = 0;
  if (!panel_size(view.family, cols, shared, view.panel_bytes) || rows > int64_t{1} << 48 ||
      __builtin_mul_overflow(static_cast<uint64_t>(matrix.panels()), view.panel_bytes, &bytes) || bytes >> 48 != 0) {
    fail("a {} matrix of {} rows and {} columns is too large", encoding.name, rows, cols);
  }
  return matrix;
}

PackedMatrix PackedMatrix::with_memory(const Encoding& encoding, int64_t rows, int64_t cols, int shared) {
  PackedMatrix matrix = of_shape(encoding, rows, cols, shared);
  const uint64_t bytes = matrix.bytes();
  // Streams of weights run through the address-translation cache faster with large pages.
  const uint64_t alignment = bytes >= kLargePage ? kLargePage : 64;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
  if (memory == nullptr) fail("not enough memory: {} bytes for a {} matrix", bytes, encoding.name);
  matrix.data_.reset(memory);
  matrix.view_.data = memory;
  wish_large_pages(memory, bytes);
  return matrix;
}

PackedMatrix pack_matrix(const Encoding& encoding, int64_t rows, int64_t cols, const std::byte* data,
                         const int64_t* row_order, ThreadPool& pool) {
  PackedMatrix::of_shape(encoding, rows, cols, 0);  // is such a matrix possible?
  const Source source{encoding, data, row_order, rows, cols};
  const int shared = shared_scales(source, pool);
  PackedMatrix matrix = PackedMatrix::with_memory(encoding, rows, cols, shared);
  const FamilyTraits t = traits(matrix.view().family);
  pool.run(matrix.panels(), [&](int64_t panel, int) {
    uint8_t* out = matrix.panel(panel);
    const int count = static_cast<int>(std::min<int64_t>(kPanelRows, rows - panel * kPanelRows));
    // Of whole float panels only the padding behind the last column is not written below.
    const bool covered = t.is_float && count == kPanelRows;
    const uint64_t written =
        covered ? static_cast<uint64_t>(cols) * kPanelRows * float_size(matrix.view().family) : uint64_t{0};
    std::memset(out + written, 0, matrix.view().panel_bytes - written);
    if (t.is_float) {
      pack_float_panel(source, panel * kPanelRows, count, out);
    } else {
      pack_panel(source, t, shared, panel * kPanelRows, count, out);
    }
  });
  return matrix;
}

uint64_t packed_bytes(const Encoding& encoding, int64_t rows, int64_t cols, int64_t group) {
  int shared = 0;
  const auto fits = [&](int64_t tiles) { return group >= cols || (group > 0 && group % (tiles * kTileCols) == 0); };
  while (encoding.block == kTileCols && shared < kMostShared && fits(2 << shared)) ++shared;
  return PackedMatrix::of_shape(encoding, rows, cols, shared).bytes();
}

int64_t panels_together(uint64_t panel_bytes) {
  constexpr uint64_t kTogether = uint64_t{4} << 20;
  return static_cast<int64_t>(std::max<uint64_t>(1, kTogether / panel_bytes));
}

PackedMatrix read_matrix(const Encoding& encoding, int64_t rows, int64_t cols, int shared, const ReadPanels& read,
                         ThreadPool& pool) {
  if (shared < 0 || shared > (encoding.block == kTileCols ? kMostShared : 0)) {
    fail("a {} matrix whose scales are shared by 2^{} tiles cannot be", encoding.name, shared);
  }
  PackedMatrix matrix = PackedMatrix::with_memory(encoding, rows, cols, shared);
  const int64_t together = panels_together(matrix.view().panel_bytes);
  pool.run((matrix.panels() + together - 1) / together, [&](int64_t i, int) {
    const int64_t begin = i * together, end = std::min(matrix.panels(), begin + together);
    const auto bytes = static_cast<size_t>(static_cast<uint64_t>(end - begin) * matrix.view().panel_bytes);
    read(begin, end, {reinterpret_cast<std::byte*>(matrix.panel(begin)), bytes});
  });
  return matrix;
}

std::vector<float> unpack_matrix(const PackedMatrix& matrix) {
  const PackedView& view = matrix.view();
  const FamilyTraits t = traits(view.family);
  std::vector<float> out(static_cast<size_t>(view.rows * view.cols));
  for (int64_t r = 0; r < view.rows; ++r) {
    const uint8_t* panel = view.data + static_cast<uint64_t>(r / kPanelRows) * view.panel_bytes;
    const int row = static_cast<int>(r % kPanelRows);
    float* to = out.data() + r * view.cols;
    if (t.is_float) {
      const uint64_t size = float_size(view.family);
      for (int64_t c = 0; c < view.cols; ++c) {
        const uint8_t* at = panel + static_cast<uint64_t>(c * kPanelRows + row) * size;
        if (view.family == Family::F32) {
          std::memcpy(&to[c], at, sizeof(float));
        } else {
          to[c] = view.family == Family::F16 ? f16_to_f32(get16(at)) : bf16_to_f32(get16(at));
        }
      }
      continue;
    }
    const int64_t tiles = view.cols / kTileCols;
    for (int64_t done = 0; done < tiles; done += kChunkTiles) {
      const int n = static_cast<int>(std::min<int64_t>(kChunkTiles, tiles - done));
      for (int tile = 0; tile < n; ++tile) {
        unpack_row(view, t, panel, n, tile, row, to + (done + tile) * kTileCols);
      }
      panel += chunk_bytes(t, n, view.shared);
    }
  }
  return out;
}

}  // namespace lowbit
