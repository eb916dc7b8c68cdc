// Products with coded weights for AVX-512 with VNNI: one vpdpbusd takes 4 columns of 16 rows. matmul_ref.cc defines the
// order of operations.
#include <immintrin.h>
#include <stdint.h>

#include "kernel/ops.h"

namespace lowbit::avx512 {
namespace {

/// Tokens that share the decoding of a tile, in registers.
constexpr int kTokens = 8;
/// Chunks (of 256 columns) between two visits of the outputs, so that activations and weights stay in near caches.
constexpr int64_t kBlockChunks = 4;

inline __m512i load_bytes(const uint8_t* p) { return _mm512_load_si512(p); }

inline __m512 load_halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}

/// 8 groups of 4 columns, unsigned, as they go into dot products.
struct Codes {
  __m512i group[8];
};

/// a | (b & mask)
inline __m512i or_masked(__m512i a, __m512i b, __m512i mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }

template <int kBits>
inline Codes load_codes(const uint8_t* planes) {
  Codes codes;
  if constexpr (kBits == 8) {
    for (int g = 0; g < 8; ++g) codes.group[g] = load_bytes(planes + 64 * g);
    return codes;
  }
  constexpr int kLow = kBits >= 4 ? 4 : 0;  // bits that the 4-bit plane gives
  if constexpr (kLow == 4) {
    const __m512i mask = _mm512_set1_epi8(15);
    for (int g = 0; g < 4; ++g) {
      const __m512i plane = load_bytes(planes + 64 * g);
      codes.group[g] = _mm512_and_si512(plane, mask);
      codes.group[g + 4] = _mm512_and_si512(_mm512_srli_epi16(plane, 4), mask);
    }
    planes += 256;
  }
  if constexpr (kBits == 2 || kBits == 3 || kBits == 6) {
    const __m512i mask = _mm512_set1_epi8(3 << kLow);
    for (int i = 0; i < 2; ++i) {
      const __m512i plane = load_bytes(planes + 64 * i);
      const __m512i fields[4] = {
          kLow == 4 ? _mm512_slli_epi16(plane, 4) : plane,
          kLow == 4 ? _mm512_slli_epi16(plane, 2) : _mm512_srli_epi16(plane, 2),
          kLow == 4 ? plane : _mm512_srli_epi16(plane, 4),
          kLow == 4 ? _mm512_srli_epi16(plane, 2) : _mm512_srli_epi16(plane, 6),
      };
      for (int f = 0; f < 4; ++f) {
        __m512i& code = codes.group[4 * i + f];
        code = kLow == 4 ? or_masked(code, fields[f], mask) : _mm512_and_si512(fields[f], mask);
      }
    }
    planes += 128;
  }
  if constexpr (kBits % 2 == 1) {
    constexpr int kTo = kBits - 1;  // the bit that this plane gives
    const __m512i mask = _mm512_set1_epi8(1 << kTo);
    const __m512i plane = load_bytes(planes);
    for (int g = 0; g < 8; ++g) {
      const __m512i bit = g < kTo ? _mm512_slli_epi16(plane, static_cast<unsigned>(kTo > g ? kTo - g : 0))
                                  : _mm512_srli_epi16(plane, static_cast<unsigned>(g > kTo ? g - kTo : 0));
      codes.group[g] = or_masked(codes.group[g], bit, mask);
    }
  }
  return codes;
}

/// What a chunk's header gives for all of its tiles.
template <Family F>
struct Header {
  static constexpr FamilyTraits kTraits = traits(F);
  const uint8_t *scales, *minima;
  __m512 d, dmin;

  Header(const uint8_t* chunk, int tiles)
      : scales(chunk + scales_at(kTraits)), minima(chunk + minima_at(kTraits, tiles)) {
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

  Scales(const Header<F>& header, int tile) {
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

inline __m512i broadcast4(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

template <Family F>
inline __m512 add_tile(const Codes& codes, const Scales<F>& scales, const ActivationTile& x, __m512 total) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr int kParts = Scales<F>::kParts, kGroups = 8 / kParts;
  const int32_t* minus_sums = kParts == 2 ? x.minus_half_sum : &x.minus_sum;
  const float* sums = kParts == 2 ? x.half_sum : &x.sum;
  __m512 value = _mm512_setzero_ps();
  for (int s = 0; s < kParts; ++s) {
    __m512i dot = kTraits.minima ? _mm512_setzero_si512()
                                 : _mm512_slli_epi32(_mm512_set1_epi32(minus_sums[s]),
                                                     static_cast<unsigned>(offset_shift(kTraits)));
    for (int g = s * kGroups; g < (s + 1) * kGroups; ++g) {
      dot = _mm512_dpbusd_epi32(dot, codes.group[g], broadcast4(x.codes + 4 * g));
    }
    const __m512 dots = _mm512_cvtepi32_ps(dot);
    value = s == 0 ? _mm512_mul_ps(dots, scales.scale[s]) : _mm512_fmadd_ps(dots, scales.scale[s], value);
  }
  if constexpr (kTraits.minima) {
    for (int s = 0; s < kParts; ++s) value = _mm512_fnmadd_ps(scales.minimum[s], _mm512_set1_ps(sums[s]), value);
  }
  return _mm512_fmadd_ps(value, _mm512_set1_ps(x.scale), total);
}

/// What a call multiplies: one panel by T tokens, tiles [from, to).
struct Block {
  const uint8_t* chunk;     ///< of tile `from`
  const ActivationTile* x;  ///< of tile `from`: [tile][T]
  float* out;               ///< of the panel's first row
  int64_t stride, from, to, tiles;
  __mmask16 rows;
  __m128i table;
};

template <Family F, int T>
void multiply(const Block& b) {
  constexpr FamilyTraits kTraits = traits(F);
  __m512 total[T];
  for (int t = 0; t < T; ++t) {
    total[t] = b.from == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(b.rows, b.out + t * b.stride);
  }
  const __m512i table = _mm512_broadcast_i32x4(b.table);
  const uint8_t* chunk = b.chunk;
  const ActivationTile* x = b.x;
  for (int64_t done = b.from; done < b.to; done += kChunkTiles) {
    const int n = b.tiles - done < kChunkTiles ? static_cast<int>(b.tiles - done) : kChunkTiles;
    const Header<F> header(chunk, n);
    const uint8_t* planes = chunk + header_bytes(kTraits, n);
    for (int tile = 0; tile < n; ++tile, x += T, planes += tile_bytes(kTraits)) {
      Codes codes = load_codes<kTraits.bits>(planes);
      if constexpr (kTraits.table) {
        for (__m512i& group : codes.group) group = _mm512_shuffle_epi8(table, group);
      }
      const Scales<F> scales(header, tile);
      for (int t = 0; t < T; ++t) total[t] = add_tile<F>(codes, scales, x[t], total[t]);
    }
    chunk = planes;
  }
  for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(b.out + t * b.stride, b.rows, total[t]);
}

template <Family F, int T>
auto pick_multiply(int tokens) -> void (*)(const Block&) {
  if constexpr (T == 1)
    return multiply<F, 1>;
  else
    return tokens == T ? multiply<F, T> : pick_multiply<F, T - 1>(tokens);
}

template <Family F>
void matmul_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  const int64_t tiles = w.cols / kTileCols;
  const int64_t step = x.tokens == 1 ? tiles : kBlockChunks * kChunkTiles;
  Block b{};
  b.stride = stride;
  b.tiles = tiles;
  b.table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.table));
  for (b.from = 0; b.from < tiles; b.from += step) {
    b.to = b.from + step < tiles ? b.from + step : tiles;
    const uint64_t offset = static_cast<uint64_t>(b.from / kChunkTiles * chunk_bytes(kTraits, kChunkTiles));
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t left = w.rows - panel * kPanelRows;
      b.rows = static_cast<__mmask16>(left < kPanelRows ? (1u << left) - 1 : 0xffffu);
      b.chunk = w.data + static_cast<uint64_t>(panel) * w.panel_bytes + offset;
      for (int64_t token = 0; token < x.tokens; token += kTokens) {
        const int tokens = x.tokens - token < kTokens ? static_cast<int>(x.tokens - token) : kTokens;
        b.x = activations + token * tiles + b.from * tokens;
        b.out = out + token * stride + panel * kPanelRows;
        pick_multiply<F, kTokens>(tokens)(b);
      }
    }
  }
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
