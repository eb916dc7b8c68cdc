// Products with coded weights for AVX-512 with VNNI: one vpdpbusd takes 4 columns of 16 rows. matmul_ref.cc defines the
// order of operations.
#include <immintrin.h>
#include <stdint.h>

#include "kernel/ops.h"

// What the compiler must see in one piece to keep its arrays in registers.
#define LOWBIT_INLINE inline __attribute__((always_inline))
#define LOWBIT_INLINE_LAMBDA __attribute__((always_inline))

namespace lowbit::avx512 {
namespace {

// One token is bound by memory: its kernel decodes tiles in registers as they stream by. Many tokens are bound by
// arithmetic: codes and scales of a block of tiles are decoded once, to bytes and floats that stay in a near cache, and
// one kernel for all families multiplies them, two panels at a time so that a broadcast serves both.

/// Tokens that are multiplied at once, in registers.
constexpr int kTokens = 6;
/// Panels of the kernel for many tokens.
constexpr int kPanels = 2;
/// Tiles between two visits of the outputs: what two panels decode to, and a group's activations, stay in a near cache.
constexpr int kBlockTiles = 32;
static_assert(kBlockTiles % kChunkTiles == 0);

LOWBIT_INLINE __m512i load_bytes(const uint8_t* p) { return _mm512_load_si512(p); }

LOWBIT_INLINE __m512 load_halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}

/// a | (b & mask)
LOWBIT_INLINE __m512i or_masked(__m512i a, __m512i b, __m512i mask) {
  return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}

/// The bits of `field` * width, so wide, of each byte, moved to bit `to`; other bits are of no meaning.
template <int kFrom, int kTo>
LOWBIT_INLINE __m512i move_bits(__m512i bytes) {
  if constexpr (kFrom < kTo) return _mm512_slli_epi16(bytes, kTo - kFrom);
  if constexpr (kFrom > kTo) return _mm512_srli_epi16(bytes, kFrom - kTo);
  return bytes;
}

/// The codes of group kGroup, unsigned: byte 4 r + k is row r, column 4 kGroup + k.
template <int kBits, int kGroup>
LOWBIT_INLINE __m512i load_group(const uint8_t* planes) {
  if constexpr (kBits == 8) return load_bytes(planes + 64 * kGroup);
  constexpr int kLow = kBits >= 4 ? 4 : 0;  // bits that the 4-bit plane gives
  __m512i code = _mm512_setzero_si512();
  if constexpr (kLow == 4) {
    code = _mm512_and_si512(move_bits<kGroup / 4 * 4, 0>(load_bytes(planes + 64 * (kGroup % 4))), _mm512_set1_epi8(15));
    planes += 256;
  }
  if constexpr (kBits == 2 || kBits == 3 || kBits == 6) {
    const __m512i bits = move_bits<kGroup % 4 * 2, kLow>(load_bytes(planes + 64 * (kGroup / 4)));
    const __m512i mask = _mm512_set1_epi8(3 << kLow);
    code = kLow == 4 ? or_masked(code, bits, mask) : _mm512_and_si512(bits, mask);
    planes += 128;
  }
  if constexpr (kBits % 2 == 1) {
    code = or_masked(code, move_bits<kGroup, kBits - 1>(load_bytes(planes)), _mm512_set1_epi8(1 << (kBits - 1)));
  }
  return code;
}

/// What a chunk's header gives for all of its tiles.
template <Family F>
struct Header {
  static constexpr FamilyTraits kTraits = traits(F);
  const uint8_t *scales, *minima;
  __m512 d, dmin;

  LOWBIT_INLINE void read(const uint8_t* chunk, int tiles) {
    scales = chunk + scales_at(kTraits);
    minima = chunk + minima_at(kTraits, tiles);
    if constexpr (kTraits.sub_scales > 0) d = load_halves(chunk);
    if constexpr (kTraits.sub_scales > 0 && kTraits.minima) dmin = load_halves(chunk + 2 * kPanelRows);
  }
};

/// The floats that multiply the dots and sums of a tile.
template <Family F>
struct Scales {
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kParts = kTraits.sub_scales == 2 ? 2 : 1;
  __m512 scale[kParts], minimum[kParts];

  LOWBIT_INLINE void read(const Header<F>& header, int tile) {
    const int64_t at = static_cast<int64_t>(tile) * scales_bytes(kTraits);
    if constexpr (kTraits.sub_scales == 0) {
      scale[0] = load_halves(header.scales + at);
      if constexpr (kTraits.minima) minimum[0] = load_halves(header.minima + at);
      return;
    }
    for (int s = 0; s < kParts; ++s) {
      const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(header.scales + at) + s);
      __m512i whole = _mm512_cvtepi8_epi32(bytes);
      if constexpr (kTraits.bits == 2) whole = _mm512_and_si512(whole, _mm512_set1_epi32(15));
      scale[s] = _mm512_mul_ps(header.d, _mm512_cvtepi32_ps(whole));
      if constexpr (kTraits.minima) {
        __m512i least;
        if constexpr (kTraits.bits == 2) {
          least = _mm512_srli_epi32(_mm512_cvtepu8_epi32(bytes), 4);
        } else {
          least = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(header.minima + at) + s));
        }
        minimum[s] = _mm512_mul_ps(header.dmin, _mm512_cvtepi32_ps(least));
      }
    }
  }
};

/// A tile as it is stored.
template <Family F>
struct StoredTile {
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kParts = Scales<F>::kParts;
  static constexpr bool kMinima = kTraits.minima;
  const uint8_t* planes;
  __m512i table;
  Scales<F> scales;

  template <int kGroup>
  LOWBIT_INLINE __m512i group() const {
    const __m512i codes = load_group<kTraits.bits, kGroup>(planes);
    return kTraits.table ? _mm512_shuffle_epi8(table, codes) : codes;
  }
  LOWBIT_INLINE __m512 scale(int part) const { return scales.scale[part]; }
  LOWBIT_INLINE __m512 minimum(int part) const { return scales.minimum[part]; }
  /// What a dot product starts from, of minus the sum of its activations: the offset of symmetric codes.
  LOWBIT_INLINE __m512i start(int32_t minus_sum) const {
    if constexpr (kMinima) return _mm512_setzero_si512();
    return _mm512_slli_epi32(_mm512_set1_epi32(minus_sum), static_cast<unsigned>(offset_shift(kTraits)));
  }
};

/// A tile decoded to one byte a code, with its floats.
template <int kTheParts, bool kHasMinima>
struct alignas(64) TileBytes {
  uint8_t codes[8][64];
  float floats[kTheParts * (kHasMinima ? 2 : 1)][16];  ///< scale of each part, then minimum of each part
};

template <int kTheParts, bool kHasMinima>
struct DecodedTile {
  static constexpr int kParts = kTheParts;
  static constexpr bool kMinima = kHasMinima;
  const TileBytes<kParts, kMinima>* bytes;
  __m128i shift;

  template <int kGroup>
  LOWBIT_INLINE __m512i group() const {
    return load_bytes(bytes->codes[kGroup]);
  }
  LOWBIT_INLINE __m512 scale(int part) const { return _mm512_load_ps(bytes->floats[part]); }
  LOWBIT_INLINE __m512 minimum(int part) const { return _mm512_load_ps(bytes->floats[kParts + part]); }
  LOWBIT_INLINE __m512i start(int32_t minus_sum) const {
    if constexpr (kMinima) return _mm512_setzero_si512();
    return _mm512_sll_epi32(_mm512_set1_epi32(minus_sum), shift);
  }
};

/// Four activations for all 16 rows.
LOWBIT_INLINE __m512i broadcast4(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

/// dot += the products of groups [kGroup, kEnd).
template <typename Tile, int P, int T, int kGroup, int kEnd>
LOWBIT_INLINE void add_groups(const Tile (&tile)[P], const ActivationTile* x, __m512i (&dot)[P][T]) {
  __m512i codes[P];
  for (int p = 0; p < P; ++p) codes[p] = tile[p].template group<kGroup>();
  for (int t = 0; t < T; ++t) {
    const __m512i four = broadcast4(x[t].codes + 4 * kGroup);
    for (int p = 0; p < P; ++p) dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], codes[p], four);
  }
  if constexpr (kGroup + 1 < kEnd) add_groups<Tile, P, T, kGroup + 1, kEnd>(tile, x, dot);
}

/// One part (all, or a half with a scale of its own) of a tile: value = or += dot * scale.
template <typename Tile, int P, int T, int kPart>
LOWBIT_INLINE void add_part(const Tile (&tile)[P], const ActivationTile* x, __m512 (&value)[P][T]) {
  constexpr int kGroups = 8 / Tile::kParts;
  __m512i dot[P][T];
  for (int t = 0; t < T; ++t) {
    const int32_t minus_sum = Tile::kParts == 2 ? x[t].minus_half_sum[kPart] : x[t].minus_sum;
    for (int p = 0; p < P; ++p) dot[p][t] = tile[p].start(minus_sum);
  }
  add_groups<Tile, P, T, kPart * kGroups, (kPart + 1) * kGroups>(tile, x, dot);
  for (int p = 0; p < P; ++p) {
    const __m512 scale = tile[p].scale(kPart);
    for (int t = 0; t < T; ++t) {
      const __m512 dots = _mm512_cvtepi32_ps(dot[p][t]);
      value[p][t] = kPart == 0 ? _mm512_mul_ps(dots, scale) : _mm512_fmadd_ps(dots, scale, value[p][t]);
    }
  }
}

/// total += a tile of P panels by T tokens.
template <typename Tile, int P, int T>
LOWBIT_INLINE void add_tile(const Tile (&tile)[P], const ActivationTile* x, __m512 (&total)[P][T]) {
  __m512 value[P][T];
  add_part<Tile, P, T, 0>(tile, x, value);
  if constexpr (Tile::kParts == 2) add_part<Tile, P, T, 1>(tile, x, value);
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) {
      if constexpr (Tile::kMinima) {
        const float* sums = Tile::kParts == 2 ? x[t].half_sum : &x[t].sum;
        for (int s = 0; s < Tile::kParts; ++s) {
          value[p][t] = _mm512_fnmadd_ps(tile[p].minimum(s), _mm512_set1_ps(sums[s]), value[p][t]);
        }
      }
      total[p][t] = _mm512_fmadd_ps(value[p][t], _mm512_set1_ps(x[t].scale), total[p][t]);
    }
  }
}

LOWBIT_INLINE __mmask16 row_mask(int64_t rows) {
  return static_cast<__mmask16>(rows < kPanelRows ? (1u << rows) - 1 : 0xffffu);
}

/// Memory is read at full speed only when it is asked for well ahead: hardware gives up at each change of pace between
/// headers and tiles. Addresses beyond the matrix are ignored.
template <Family F>
LOWBIT_INLINE void prefetch(const uint8_t* planes, int tile) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr int kAhead = 8192;
  if (tile == 0) {
    for (int i = 0; i < header_bytes(kTraits, kChunkTiles); i += 64)
      _mm_prefetch(planes + kAhead - 64 - i, _MM_HINT_T0);
  }
  for (int i = 0; i < tile_bytes(kTraits); i += 64) _mm_prefetch(planes + kAhead + i, _MM_HINT_T0);
}

/// Calls f(tile as stored, index) for tiles [0, tiles) from `chunk` on.
template <Family F, typename Function>
LOWBIT_INLINE void for_tiles(const uint8_t* chunk, int64_t tiles, __m512i table, Function f) {
  constexpr FamilyTraits kTraits = traits(F);
  StoredTile<F> tile;
  tile.table = table;
  for (int64_t done = 0; done < tiles; done += kChunkTiles) {
    const int n = tiles - done < kChunkTiles ? static_cast<int>(tiles - done) : kChunkTiles;
    Header<F> header;
    header.read(chunk, n);
    tile.planes = chunk + header_bytes(kTraits, n);
    for (int i = 0; i < n; ++i, tile.planes += tile_bytes(kTraits)) {
      prefetch<F>(tile.planes, i);
      tile.scales.read(header, i);
      f(tile, done + i);
    }
    chunk = tile.planes;
  }
}

/// A panel by T <= kTokens tokens, all columns.
template <Family F, int T>
void multiply_few(const PackedView& w, int64_t panel, __m512i table, const ActivationTile* x, float* out,
                  int64_t stride) {
  __m512 total[1][T];
  for (int t = 0; t < T; ++t) total[0][t] = _mm512_setzero_ps();
  for_tiles<F>(w.data + static_cast<uint64_t>(panel) * w.panel_bytes, w.cols / kTileCols, table,
               [&](const StoredTile<F>& tile, int64_t i) LOWBIT_INLINE_LAMBDA {
                 const StoredTile<F> one[1] = {tile};
                 add_tile<StoredTile<F>, 1, T>(one, x + i * T, total);
               });
  const __mmask16 rows = row_mask(w.rows - panel * kPanelRows);
  for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(out + t * stride + panel * kPanelRows, rows, total[0][t]);
}

template <Family F, int T>
auto pick_few(int64_t tokens) -> void (*)(const PackedView&, int64_t, __m512i, const ActivationTile*, float*, int64_t) {
  if constexpr (T == 1)
    return multiply_few<F, 1>;
  else
    return tokens == T ? multiply_few<F, T> : pick_few<F, T - 1>(tokens);
}

/// `tiles` decoded tiles of P panels by T tokens, added to out (or put there, if they are the first).
template <int kParts, bool kMinima, int P, int T>
void multiply_decoded(const TileBytes<kParts, kMinima> (*tiles)[kBlockTiles], int64_t count, int shift,
                      const ActivationTile* x, bool first, float* out, int64_t stride, int64_t rows) {
  __m512 total[P][T];
  for (int p = 0; p < P; ++p) {
    const __mmask16 mask = row_mask(rows - p * kPanelRows);
    for (int t = 0; t < T; ++t) {
      total[p][t] = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, out + t * stride + p * kPanelRows);
    }
  }
  DecodedTile<kParts, kMinima> tile[P];
  for (int p = 0; p < P; ++p) tile[p].shift = _mm_cvtsi32_si128(shift);
  for (int64_t i = 0; i < count; ++i, x += T) {
    for (int p = 0; p < P; ++p) tile[p].bytes = &tiles[p][i];
    add_tile<DecodedTile<kParts, kMinima>, P, T>(tile, x, total);
  }
  for (int p = 0; p < P; ++p) {
    const __mmask16 mask = row_mask(rows - p * kPanelRows);
    for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(out + t * stride + p * kPanelRows, mask, total[p][t]);
  }
}

template <int kParts, bool kMinima>
using MultiplyDecoded = void (*)(const TileBytes<kParts, kMinima> (*)[kBlockTiles], int64_t, int, const ActivationTile*,
                                 bool, float*, int64_t, int64_t);

template <int kParts, bool kMinima, int P, int T>
MultiplyDecoded<kParts, kMinima> pick_decoded(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_decoded<kParts, kMinima, P, 1>;
  else
    return tokens == T ? multiply_decoded<kParts, kMinima, P, T> : pick_decoded<kParts, kMinima, P, T - 1>(tokens);
}

template <Family F, typename Bytes>
void decode_tiles(const uint8_t* chunk, int64_t tiles, __m512i table, Bytes* out) {
  for_tiles<F>(chunk, tiles, table, [&](const StoredTile<F>& tile, int64_t i) LOWBIT_INLINE_LAMBDA {
    Bytes& to = out[i];
    _mm512_store_si512(to.codes[0], tile.template group<0>());
    _mm512_store_si512(to.codes[1], tile.template group<1>());
    _mm512_store_si512(to.codes[2], tile.template group<2>());
    _mm512_store_si512(to.codes[3], tile.template group<3>());
    _mm512_store_si512(to.codes[4], tile.template group<4>());
    _mm512_store_si512(to.codes[5], tile.template group<5>());
    _mm512_store_si512(to.codes[6], tile.template group<6>());
    _mm512_store_si512(to.codes[7], tile.template group<7>());
    for (int s = 0; s < StoredTile<F>::kParts; ++s) {
      _mm512_store_ps(to.floats[s], tile.scale(s));
      if constexpr (StoredTile<F>::kMinima) _mm512_store_ps(to.floats[StoredTile<F>::kParts + s], tile.minimum(s));
    }
  });
}

template <Family F>
void matmul_many(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, __m512i table, float* out,
                 int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr int kParts = StoredTile<F>::kParts;
  constexpr bool kMinima = kTraits.minima;
  TileBytes<kParts, kMinima> decoded[kPanels][kBlockTiles];
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  const int64_t tiles = w.cols / kTileCols;
  for (int64_t from = 0; from < tiles; from += kBlockTiles) {
    const int64_t count = tiles - from < kBlockTiles ? tiles - from : kBlockTiles;
    const uint64_t offset = static_cast<uint64_t>(from / kChunkTiles * chunk_bytes(kTraits, kChunkTiles));
    for (int64_t panel = begin, panels = 0; panel < end; panel += panels) {
      panels = panel + kPanels <= end ? kPanels : 1;
      for (int64_t p = 0; p < panels; ++p) {
        decode_tiles<F>(w.data + static_cast<uint64_t>(panel + p) * w.panel_bytes + offset, count, table, decoded[p]);
      }
      for (int64_t token = 0; token < x.tokens; token += kTokens) {
        const int64_t tokens = x.tokens - token < kTokens ? x.tokens - token : kTokens;
        const auto multiply = panels == kPanels ? pick_decoded<kParts, kMinima, kPanels, kTokens>(tokens)
                                                : pick_decoded<kParts, kMinima, 1, kTokens>(tokens);
        multiply(decoded, count, offset_shift(kTraits), activations + token * tiles + from * tokens, from == 0,
                 out + token * stride + panel * kPanelRows, stride, w.rows - panel * kPanelRows);
      }
    }
  }
}

template <Family F>
void matmul_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, int64_t stride) {
  const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.table)));
  if (x.tokens > kTokens) return matmul_many<F>(w, begin, end, x, table, out, stride);
  const auto multiply = pick_few<F, kTokens>(x.tokens);
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  for (int64_t panel = begin; panel < end; ++panel) multiply(w, panel, table, activations, out, stride);
}

}  // namespace

const int kCodeGroup = kTokens;

void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                  int64_t out_stride) {
  switch (w.family) {
    case Family::S4:
      return matmul_of<Family::S4>(w, begin, end, x, out, out_stride);
    case Family::M4:
      return matmul_of<Family::M4>(w, begin, end, x, out, out_stride);
    case Family::T4:
      return matmul_of<Family::T4>(w, begin, end, x, out, out_stride);
    case Family::S5:
      return matmul_of<Family::S5>(w, begin, end, x, out, out_stride);
    case Family::M5:
      return matmul_of<Family::M5>(w, begin, end, x, out, out_stride);
    case Family::S8:
      return matmul_of<Family::S8>(w, begin, end, x, out, out_stride);
    case Family::K2:
      return matmul_of<Family::K2>(w, begin, end, x, out, out_stride);
    case Family::K3:
      return matmul_of<Family::K3>(w, begin, end, x, out, out_stride);
    case Family::K4:
      return matmul_of<Family::K4>(w, begin, end, x, out, out_stride);
    case Family::TK4:
      return matmul_of<Family::TK4>(w, begin, end, x, out, out_stride);
    case Family::K5:
      return matmul_of<Family::K5>(w, begin, end, x, out, out_stride);
    case Family::K6:
      return matmul_of<Family::K6>(w, begin, end, x, out, out_stride);
    case Family::F32:
    case Family::F16:
    case Family::BF16:
      return;
  }
}

}  // namespace lowbit::avx512
