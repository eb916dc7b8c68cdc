// Rounds activations to chunks: see ActivationChunk.
#include <immintrin.h>

#include "kernel/ops.h"

namespace lowbit::zen4 {
namespace {

/// x * 2^by, rounded to the nearest integer, halves up; without branches, so that loops become vectors.
inline int32_t times_power(int32_t x, int by) {
  const int left = by > 0 ? by : 0, right = by < 0 ? -by : 0;
  return ((x << left) + ((1 << right) >> 1)) >> right;
}

/// Of each tile of a chunk: what its first and its last 16 codes add up to.
struct HalfSums {
  alignas(64) int32_t of[2][kChunkTiles];
};

/// The same of products by `by(64 codes)`, which are sums of four.
template <typename By>
inline HalfSums half_sums(const int8_t* codes, const By& by) {
  __m512i all = _mm512_setzero_si512();  // int v of 128 bits i is that of half i of the v-th 64 codes
  for (int v = 0; v < 4; ++v) {
    __m512i sums = by(_mm512_load_si512(codes + 64 * v));
    sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_BADC));
    sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
    all = _mm512_mask_mov_epi32(all, static_cast<__mmask16>(0x1111 << v), sums);
  }
  HalfSums out;
  const __m512i by_half = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  _mm512_store_si512(out.of, _mm512_permutexvar_epi32(by_half, all));
  return out;
}

inline HalfSums sums_of(const int8_t* codes) {
  const __m512i ones = _mm512_set1_epi8(1), none = _mm512_setzero_si512();
  return half_sums(codes, [&](__m512i four) { return _mm512_dpbusd_epi32(none, ones, four); });
}
/// Of codes taken positive.
inline HalfSums magnitudes_of(const int8_t* codes) {
  const __m512i ones = _mm512_set1_epi8(1), none = _mm512_setzero_si512();
  return half_sums(codes, [&](__m512i four) { return _mm512_dpbusd_epi32(none, _mm512_abs_epi8(four), ones); });
}

/// Fills the codes of a tile, none of them beyond `most`.
inline void round_tile(const float* x, float inverse, float most, int8_t* codes) {
  for (int h = 0; h < 2; ++h) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + 16 * h), _mm512_set1_ps(inverse));
    const __m512 inside = _mm512_min_ps(_mm512_max_ps(scaled, _mm512_set1_ps(-most)), _mm512_set1_ps(most));
    _mm_store_si128(reinterpret_cast<__m128i*>(codes + 16 * h), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(inside)));
  }
}

/// The bits of the greatest magnitude of a tile; a NaN is greater than all numbers.
inline int32_t most_of_tile(const float* x) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  return _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_and_si512(_mm512_loadu_si512(x), magnitude),
                                                  _mm512_and_si512(_mm512_loadu_si512(x + 16), magnitude)));
}

/// The codes and shifts of 256 activations the greatest of which is `most`; `tile_bits` are those of each tile's.
inline void round_chunk(const float* x, float most, const int32_t (&tile_bits)[kChunkTiles], ActivationChunk& out) {
  const int32_t bits = __builtin_bit_cast(int32_t, most);
  const float inverse = 127.0F / most;
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    // The exponents tell how often the tile's greatest can be doubled. That of the greatest of all has a shift of 1: 0
    // is left for tiles whose codes would add up to too much.
    const int32_t doubled = (bits - tile_bits[tile]) >> 23;
    const int32_t shift = 1 + (doubled < kMostShift - 1 ? doubled : kMostShift - 1);
    out.shift[tile] = tile_bits[tile] == 0 ? 0 : shift;
    round_tile(x + tile * kTileCols, inverse * static_cast<float>(1 << (shift - 1)), 127, out.codes + tile * kTileCols);
  }
  const HalfSums magnitudes = magnitudes_of(out.codes);
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    if (magnitudes.of[0][tile] <= kMostHalfSum && magnitudes.of[1][tile] <= kMostHalfSum) continue;
    const float halved = inverse * static_cast<float>(1 << (out.shift[tile] - 1)) / 2;
    round_tile(x + tile * kTileCols, halved, static_cast<float>(kMostHalfSum / 16), out.codes + tile * kTileCols);
    --out.shift[tile];
  }
}

/// Sets what follows from the scale, the shifts and the codes.
inline void set_starts_and_sums(ActivationChunk& out) {
  const HalfSums sums = sums_of(out.codes);
  const int32_t(&first)[kChunkTiles] = sums.of[0];
  const int32_t(&last)[kChunkTiles] = sums.of[1];
  // The largest power of two by which sums times the tiles' own powers fit into 16 bits.
  int32_t power = kMostShift, fractions = 0;
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    const int32_t both = first[tile] + last[tile], a = first[tile] < 0 ? -first[tile] : first[tile];
    const int32_t b = last[tile] < 0 ? -last[tile] : last[tile], c = both < 0 ? -both : both;
    const int32_t bits_left = __builtin_clz(static_cast<unsigned>(a | b | c | 1)) - 17;
    const int32_t most = out.shift[tile] + bits_left;
    power = most < power ? most : power;
    fractions += (1 << kMostShift) - (1 << kMostShift >> out.shift[tile]);
  }
  out.shifted_off = (fractions + (1 << kMostShift)) >> (kMostShift + 1);
  out.minimum_scale = out.scale / static_cast<float>(1 << power);
  int32_t tile_sum[kChunkTiles];
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    const int32_t both = first[tile] + last[tile], by = power - out.shift[tile];
    tile_sum[tile] = times_power(both, by);
    out.start128[tile] = -128 * both;
    out.half_start4[0][tile] = (1 << 15) - 4 * first[tile];
    out.half_start4[1][tile] = (1 << 15) - 4 * last[tile];
    out.half_start32[0][tile] = (1 << 15) - 32 * first[tile];
    out.half_start32[1][tile] = (1 << 15) - 32 * last[tile];
    out.half_sum[tile] = times_power(first[tile], by) << 16 | (times_power(last[tile], by) & 0xffff);
  }
  for (int i = 0; i < kChunkTiles / 2; ++i) {
    out.pair_sum[i] = tile_sum[2 * i] << 16 | (tile_sum[2 * i + 1] & 0xffff);
  }
}

}  // namespace

void chunk_row(const float* x, int64_t cols, ActivationChunk* out, int64_t stride) {
  for (int64_t c = 0; c < cols; c += kChunkCols, x += kChunkCols, out += stride) {
    int32_t tile_bits[kChunkTiles], bits = 0;
    for (int tile = 0; tile < kChunkTiles; ++tile) {
      tile_bits[tile] = most_of_tile(x + tile * kTileCols);
      bits = tile_bits[tile] > bits ? tile_bits[tile] : bits;
    }
    const float most = __builtin_bit_cast(float, bits);
    out->scale =
        most < kLeastActivation ? 0.0F : 2 * (most / 127.0F);  // not finite if an activation is not, so that it shows
    if (most >= kLeastActivation && most < __builtin_inff()) {
      round_chunk(x, most, tile_bits, *out);
    } else {
      __builtin_memset(out->codes, 0, sizeof out->codes);
      __builtin_memset(out->shift, 0, sizeof out->shift);
    }
    set_starts_and_sums(*out);
  }
}

}  // namespace lowbit::zen4
