// Products of weights with integer scales (K-quants, IQ4_XS) with activations that have one scale in 256 columns and a
// shift in 32 (ActivationChunk): all is integer arithmetic but for a few steps a chunk.
//
// Of a chunk, S is the sum over its tiles of scale * dot >> shift, or of (scale * dot + scale * dot) >> shift where
// both halves of a tile have a scale; shifts round down, and what they take off on average (shifted_off) S starts from.
// M is the sum of minimum * sum of activations. Scales and d of K3 are negated, as -32 * -4 = 128 would not fit into a
// byte.
//   total += (S * d) * scale; total -= (M * dmin) * minimum scale, each a product and a fused multiply-add
//
// The multipliers' pipes are what there is too little of: shifts and additions have others. So dots of two halves share
// a 32-bit lane, and one instruction multiplies both by their scales. Both start from 2^15, so that neither is ever
// negative, and have their signs flipped when they are done.
#include <immintrin.h>

#include <type_traits>

#include "kernel/ops.h"
#include "kernel/unroll.h"

// What the compiler must see in one piece to keep its arrays in registers.
#define LOWBIT_INLINE inline __attribute__((always_inline))
#define LOWBIT_INLINE_LAMBDA __attribute__((always_inline))
#define LOWBIT_ZEN4

namespace lowbit::zen4 {

// The order matters.
// clang-format off
#include "kernel/codes_avx512.h"
#include "kernel/matmul_codes_body.h"
#include "kernel/matmul_decode_body.h"
// clang-format on

namespace {

/// Up to how many tokens weights are decoded in registers, for every kFewTokens once more.
constexpr int64_t most_stored(FamilyTraits t) {
  return t.bits == 3 ? kFewTokens : t.bits == 2 ? 2 * kFewTokens : kGroupTokens;
}
/// What is decoded to memory at once, for the second cache; outputs are visited once a block.
constexpr int kBlockPanels = 4, kBlockChunks = 16;

static_assert(kTaskTokens % kGroupTokens == 0);

/// high's lower halves above low's.
LOWBIT_INLINE Ints words(Ints low, Ints high) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
}
/// Bytes of two times 16 rows become the upper half, then the lower half of each row's int.
template <bool kSigned>
LOWBIT_INLINE Ints widen_pairs(const uint8_t* p) {
  constexpr int kSkipped = kSigned ? 1 : 0;
  alignas(64) static constexpr uint8_t kFrom[64] = {16, 16, 0,  0,  17, 17, 1,  1,  18, 18, 2,  2,  19, 19, 3,  3,
                                                    20, 20, 4,  4,  21, 21, 5,  5,  22, 22, 6,  6,  23, 23, 7,  7,
                                                    24, 24, 8,  8,  25, 25, 9,  9,  26, 26, 10, 10, 27, 27, 11, 11,
                                                    28, 28, 12, 12, 29, 29, 13, 13, 30, 30, 14, 14, 31, 31, 15, 15};
  const Ints bytes = _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  const Ints pairs = _mm512_maskz_permutexvar_epi8(0x5555555555555555ULL << kSkipped, _mm512_load_si512(kFrom), bytes);
  return kSigned ? _mm512_srai_epi16(pairs, 8) : pairs;
}
/// What is added up at once: a tile with a scale, the two halves of one with a scale each, or a tile whose codes have
/// been multiplied by the scales.
enum class By { Tiles, Halves, FoldedTiles };

/// A panel's chunk as it is stored.
template <Family F>
struct StoredChunk {
  static constexpr Family kFamily = F;
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr By kBy = kTraits.sub_scales == 2 ? By::Halves : By::Tiles;
  static constexpr int kHeader = header_bytes(kTraits, kChunkTiles, 0), kPairs = kTraits.sub_scales * kChunkTiles / 2;
  const uint8_t* header;
  const uint8_t* scales;  ///< the header, or what join_scales() made of it
  Table table;

  LOWBIT_INLINE const uint8_t* vectors(int tile) const { return header + kHeader + tile * tile_bytes(kTraits); }
  template <int kGroup>
  LOWBIT_INLINE Ints group(int tile) const {
    const Ints codes = load_group<kTraits.bits, kGroup>(vectors(tile));
    if constexpr (kTraits.table) return look_up(table, codes);
    return codes;
  }
  /// Integer scales of a tile, or of both halves of one.
  LOWBIT_INLINE Ints scale(int tile) const {
    const uint8_t* at = scales + scales_at(kTraits) + tile * scales_bytes(kTraits);
    if constexpr (kBy == By::Tiles) return widen_signed(at);
    if constexpr (F == Family::K2) return bits_and(widen_pairs<false>(at), every_int(0x000f000f));
    if constexpr (F == Family::K6) return widen_pairs<true>(at);
    const Ints first = sub_scales<F>(scales, tile, 0, 0), second = sub_scales<F>(scales, tile, 1, 0);
    return words(ints_minus(zero(), second), ints_minus(zero(), first));  // K3
  }
  /// Integer minima of pair i of halves or tiles.
  LOWBIT_INLINE Ints minimum(int i) const {
    constexpr int kAt = F == Family::K2 ? scales_at(kTraits) : minima_at(kTraits, kChunkTiles, 0);
    const Ints pairs = widen_pairs<false>(header + kAt + 2 * kPanelRows * i);
    return F == Family::K2 ? words_right<4>(pairs) : pairs;
  }
  LOWBIT_INLINE Floats d() const {
    const Floats of_chunk = load_halves(header + d_at(kTraits));
    return F == Family::K3 ? mul(of_chunk, every_float(-1)) : of_chunk;
  }
  LOWBIT_INLINE Floats dmin() const { return load_halves(header + 2 * kPanelRows); }
};

/// The same decoded to one byte a code.
template <Family F>
struct alignas(64) ChunkBytes {
  uint8_t codes[kChunkTiles][8][4 * kPanelRows];
  // [1] is never used.
  int32_t scales[scaled_by_chunks(traits(F)) ? 1 : kChunkTiles][kPanelRows];
  int32_t minima[traits(F).minima ? StoredChunk<F>::kPairs : 1][kPanelRows];
  float d[kPanelRows], dmin[kPanelRows];
};
template <Family F>
struct DecodedChunk {
  static constexpr Family kFamily = F;
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kPairs = StoredChunk<F>::kPairs;
  static constexpr By kBy = scaled_by_chunks(kTraits) ? By::FoldedTiles : StoredChunk<F>::kBy;
  const ChunkBytes<F>* bytes;

  template <int kGroup>
  LOWBIT_INLINE Ints group(int tile) const {
    return load_bytes(bytes->codes[tile][kGroup]);
  }
  LOWBIT_INLINE Ints scale(int tile) const { return load_ints(bytes->scales[tile]); }
  LOWBIT_INLINE Ints minimum(int i) const { return load_ints(bytes->minima[i]); }
  LOWBIT_INLINE Floats d() const { return load_floats(bytes->d); }
  LOWBIT_INLINE Floats dmin() const { return load_floats(bytes->dmin); }
};

/// Stores what `codes(group)` gives.
template <int kGroup = 0, typename Codes>
LOWBIT_INLINE void store_groups_of(uint8_t (&to)[8][4 * kPanelRows], const Codes& codes) {
  store_bytes(to[kGroup], codes(std::integral_constant<int, kGroup>()));
  if constexpr (kGroup + 1 < 8) store_groups_of<kGroup + 1>(to, codes);
}

template <Family F>
void decode_chunk(const StoredChunk<F>& from, ChunkBytes<F>& to) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr bool kFolded = DecodedChunk<F>::kBy == By::FoldedTiles;
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    if constexpr (kFolded) {
      FoldedTile<F> folded;
      folded.vectors = from.vectors(tile);
      folded.scales.read(from.scales, kChunkTiles, tile, 0, 0);
      store_groups_of(to.codes[tile], [&](auto group) LOWBIT_INLINE_LAMBDA { return folded.template group<group>(); });
    } else {
      store_groups_of(to.codes[tile],
                      [&](auto group) LOWBIT_INLINE_LAMBDA { return from.template group<group>(tile); });
    }
  }
  for (int tile = 0; tile < kChunkTiles && !kFolded; ++tile) store_ints(to.scales[tile], from.scale(tile));
  store_floats(to.d, from.d());
  if constexpr (kTraits.minima) {
    for (int i = 0; i < StoredChunk<F>::kPairs; ++i) store_ints(to.minima[i], from.minimum(i));
    store_floats(to.dmin, from.dmin());
  }
}

/// dot += the products of groups [kGroup, kEnd) of a tile.
template <typename Chunk, int N, int T, int kGroup, int kEnd>
LOWBIT_INLINE void add_codes(const Chunk (&chunk)[N], int tile, const ActivationChunk* x, Ints (&dot)[N][T]) {
  Ints codes[N];
  for (int n = 0; n < N; ++n) codes[n] = chunk[n].template group<kGroup>(tile);
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    const Ints four = load_four<kGroup>(x[t].codes + tile * kTileCols);
    for (int n = 0; n < N; ++n) dot[n][t] = DirectDot::add(dot[n][t], codes[n], four);
  }
  if constexpr (kGroup + 1 < kEnd) add_codes<Chunk, N, T, kGroup + 1, kEnd>(chunk, tile, x, dot);
}

/// What the dots of a tile, or of half of one, start from.
template <typename Chunk>
LOWBIT_INLINE Ints start_of(const ActivationChunk& x, int tile, int half) {
  constexpr bool kInHalves = Chunk::kBy == By::Halves;
  switch (Chunk::kFamily) {
    case Family::K3:
      return every_int(kInHalves ? x.half_start4[half][tile] : x.start128[tile]);
    case Family::K6:
      return every_int(x.half_start32[half][tile]);
    case Family::TK4:
      return every_int(x.start128[tile]);
    default:
      return kInHalves ? every_int(1 << 15) : zero();
  }
}

template <typename Chunk, int N, int T>
LOWBIT_INLINE void start_dots(const ActivationChunk* x, int tile, int half, Ints (&dot)[N][T]) {
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    const Ints start = start_of<Chunk>(x[t], tile, half);
    for (int n = 0; n < N; ++n) dot[n][t] = start;
  }
}

/// Dots of the halves of a tile, the first in the upper half of each int.
template <typename Chunk, int N, int T>
LOWBIT_INLINE void dots_of_halves(const Chunk (&chunk)[N], int tile, const ActivationChunk* x, Ints (&dot)[N][T]) {
  start_dots<Chunk, N, T>(x, tile, 0, dot);
  add_codes<Chunk, N, T, 0, 4>(chunk, tile, x, dot);
  if constexpr (N * T <= 8) {  // one chain of additions would hold them up
    Ints lower[N][T];
    start_dots<Chunk, N, T>(x, tile, 1, lower);
    add_codes<Chunk, N, T, 4, 8>(chunk, tile, x, lower);
    LOWBIT_UNROLL
    for (int t = 0; t < T; ++t) {
      for (int n = 0; n < N; ++n) dot[n][t] = words(lower[n][t], dot[n][t]);
    }
  } else {
    LOWBIT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Ints start = start_of<Chunk>(x[t], tile, 1);
      for (int n = 0; n < N; ++n) dot[n][t] = ints_plus(ints_left<16>(dot[n][t]), start);
    }
    add_codes<Chunk, N, T, 4, 8>(chunk, tile, x, dot);
  }
  const Ints signs = every_int(static_cast<int>(0x80008000U));
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    for (int n = 0; n < N; ++n) dot[n][t] = _mm512_xor_si512(dot[n][t], signs);
  }
}

/// sum += a tile.
template <typename Chunk, int N, int T>
LOWBIT_INLINE void add_tile(const Chunk (&chunk)[N], int tile, const ActivationChunk* x, Ints (&sum)[N][T]) {
  Ints dot[N][T], scale[N];
  if constexpr (Chunk::kBy == By::Halves) {
    dots_of_halves<Chunk, N, T>(chunk, tile, x, dot);
  } else {
    start_dots<Chunk, N, T>(x, tile, 0, dot);
    add_codes<Chunk, N, T, 0, 8>(chunk, tile, x, dot);
  }
  for (int n = 0; n < N && Chunk::kBy != By::FoldedTiles; ++n) scale[n] = chunk[n].scale(tile);
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    const Ints shift = every_int(x[t].shift[tile]);
    for (int n = 0; n < N; ++n) {
      Ints scaled = dot[n][t];
      if constexpr (Chunk::kBy == By::Tiles) scaled = _mm512_mullo_epi32(scaled, scale[n]);
      if constexpr (Chunk::kBy == By::Halves) scaled = _mm512_dpwssd_epi32(zero(), scaled, scale[n]);
      sum[n][t] = ints_plus(sum[n][t], _mm512_srav_epi32(scaled, shift));
    }
  }
}

/// Totals of N panels by T tokens: there are no registers left for them.
template <int N, int T>
struct alignas(64) Totals {
  float of[T][N][kPanelRows];

  void load(const float* out, int64_t stride, int64_t rows) {
    for (int t = 0; t < T; ++t) {
      for (int n = 0; n < N; ++n) {
        store_floats(of[t][n], load_rows(out + t * stride + n * kPanelRows, rows - n * kPanelRows));
      }
    }
  }
  void store(float* out, int64_t stride, int64_t rows) const {
    for (int t = 0; t < T; ++t) {
      for (int n = 0; n < N; ++n) {
        store_rows(out + t * stride + n * kPanelRows, load_floats(of[t][n]), rows - n * kPanelRows);
      }
    }
  }
};

/// less = the sums of minima: see above.
template <typename Chunk, int N, int T>
LOWBIT_INLINE void sum_minima(const Chunk (&chunk)[N], const ActivationChunk* x, Ints (&less)[N][T]) {
  constexpr bool kInHalves = Chunk::kTraits.sub_scales == 2;
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    for (int n = 0; n < N; ++n) less[n][t] = zero();
  }
  LOWBIT_UNROLL
  for (int i = 0; i < Chunk::kPairs; ++i) {
    Ints minimum[N];
    for (int n = 0; n < N; ++n) minimum[n] = chunk[n].minimum(i);
    LOWBIT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Ints sums = every_int((kInHalves ? x[t].half_sum : x[t].pair_sum)[i]);
      for (int n = 0; n < N; ++n) less[n][t] = _mm512_dpwssd_epi32(less[n][t], minimum[n], sums);
    }
  }
}

/// The totals = (if they are the first) or += the sums of a chunk: see above.
template <typename Chunk, int N, int T>
LOWBIT_INLINE void add_sums(const Chunk (&chunk)[N], const ActivationChunk* x, const Ints (&sum)[N][T], bool first,
                            Totals<N, T>& totals) {
  constexpr bool kMinima = Chunk::kTraits.minima;
  Ints less[N][T];
  if constexpr (kMinima) sum_minima<Chunk, N, T>(chunk, x, less);
  Floats d[N], dmin[N];
  for (int n = 0; n < N; ++n) {
    d[n] = chunk[n].d();
    if constexpr (kMinima) dmin[n] = chunk[n].dmin();
  }
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    const Floats scale = every_float(x[t].scale), minimum_scale = every_float(x[t].minimum_scale);
    for (int n = 0; n < N; ++n) {
      Floats total = first ? zero_floats() : load_floats(totals.of[t][n]);
      total = fma(mul(to_floats(sum[n][t]), d[n]), scale, total);
      if constexpr (kMinima) total = fnma(mul(to_floats(less[n][t]), dmin[n]), minimum_scale, total);
      store_floats(totals.of[t][n], total);
    }
  }
}

/// A chunk of N panels by T tokens; before(tile) is called before each.
template <typename Chunk, int N, int T, typename Before>
LOWBIT_INLINE void multiply_chunk(const Chunk (&chunk)[N], const ActivationChunk* x, bool first, Totals<N, T>& totals,
                                  const Before& before) {
  Ints sum[N][T];
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    const Ints start = every_int(x[t].shifted_off);
    for (int n = 0; n < N; ++n) sum[n][t] = start;
  }
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    before(tile);
    add_tile<Chunk, N, T>(chunk, tile, x, sum);
  }
  add_sums<Chunk, N, T>(chunk, x, sum, first, totals);
}

/// Where split scales are joined.
template <Family F>
struct alignas(64) JoinedScales {
  uint8_t bytes[split_scales(traits(F)) ? 2 * kPartScales : 64];

  LOWBIT_INLINE StoredChunk<F> chunk(const uint8_t* header, Table table) {
    if constexpr (!split_scales(traits(F))) return {header, header, table};
    join_scales(header, bytes);
    return {header, bytes, table};
  }
};

/// N panels by T tokens of a group of `width`, all columns.
template <Family F, int N, int T>
void multiply_stored(const PackedView& w, int64_t panel, Table table, const ActivationChunk* x, int64_t width,
                     float* out, int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr Prefetch kAhead = T == 1 ? ahead_of_one(kTraits, N) : kAheadOfFew;
  const int64_t chunks = w.cols / kChunkCols, row = panel * kPanelRows;
  const uint8_t* header = w.data + static_cast<uint64_t>(panel) * w.panel_bytes;
  StoredChunk<F> chunk[N];
  JoinedScales<F> joined[N];
  Totals<N, T> totals;
  for (int64_t c = 0; c < chunks; ++c, x += width, header += chunk_bytes(kTraits, kChunkTiles, 0)) {
    if (T == 1 && N > 1 && c + 1 == chunks) ask_for_starts<N>(w, panel + N);
    for (int n = 0; n < N; ++n) chunk[n] = joined[n].chunk(header + static_cast<uint64_t>(n) * w.panel_bytes, table);
    multiply_chunk<StoredChunk<F>, N, T>(chunk, x, c == 0, totals, [&](int tile) LOWBIT_INLINE_LAMBDA {
      for (int n = 0; n < N; ++n) {
        prefetch<F, kAhead>(chunk[n].vectors(tile), tile, kChunkTiles, StoredChunk<F>::kHeader);
      }
    });
  }
  totals.store(out + row, stride, w.rows - row);
}

/// Activations of the tokens that are multiplied together.
struct SomeChunks {
  const ActivationChunk* x;     ///< of the first column
  int64_t width;                ///< tokens of their group
  const ActivationChunk* next;  ///< what is read after them
};

/// `chunks` decoded chunks of N panels by T tokens, added to out (or put there, if they are the first).
template <Family F, int N, int T>
void multiply_decoded(const ChunkBytes<F> (*bytes)[kBlockChunks], int64_t chunks, const SomeChunks& tokens, bool first,
                      float* out, int64_t stride, int64_t rows) {
  Totals<N, T> totals;
  if (!first) totals.load(out, stride, rows);
  const ActivationChunk* x = tokens.x;
  for (int64_t c = 0; c < chunks; ++c, x += tokens.width) {
    DecodedChunk<F> chunk[N];
    for (int n = 0; n < N; ++n) chunk[n].bytes = &bytes[n][c];
    const ActivationChunk* next = c + 1 < chunks ? x + tokens.width : tokens.next;
    multiply_chunk<DecodedChunk<F>, N, T>(chunk, x, first && c == 0, totals, [&](int tile) LOWBIT_INLINE_LAMBDA {
      constexpr int kBytes = sizeof(ActivationChunk) / kChunkTiles;  // they come from the third cache
      for (int t = 0; t < T; ++t) __builtin_prefetch(reinterpret_cast<const char*>(next + t) + tile * kBytes);
    });
  }
  totals.store(out, stride, rows);
}

using MultiplyStored = void (*)(const PackedView&, int64_t, Table, const ActivationChunk*, int64_t, float*, int64_t);
template <Family F, int T>
MultiplyStored pick_stored(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_stored<F, 1, 1>;
  else
    return tokens == T ? multiply_stored<F, 1, T> : pick_stored<F, T - 1>(tokens);
}

template <Family F>
using MultiplyDecoded = void (*)(const ChunkBytes<F> (*)[kBlockChunks], int64_t, const SomeChunks&, bool, float*,
                                 int64_t, int64_t);
template <Family F, int N, int T>
MultiplyDecoded<F> pick_decoded(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_decoded<F, N, 1>;
  else
    return tokens == T ? multiply_decoded<F, N, T> : pick_decoded<F, N, T - 1>(tokens);
}

int64_t group_width(const ActivationView& x, int64_t group) {
  return x.tokens - group < kGroupTokens ? x.tokens - group : kGroupTokens;
}
/// A token's chunk `c`.
const ActivationChunk* chunk_of(const ActivationView& x, int64_t token, int64_t c) {
  const int64_t group = token / kGroupTokens * kGroupTokens;
  return static_cast<const ActivationChunk*>(x.data) + group * (x.cols / kChunkCols) + c * group_width(x, group) +
         (token - group);
}

/// Tokens [first, first + count) of a group of `width`.
struct SomeTokens {
  int64_t first, count, width;
};
/// Calls f(SomeTokens) for all tokens of a view, up to `most` at once.
template <typename Function>
LOWBIT_INLINE void for_tokens(const ActivationView& x, int64_t most, const Function& f) {
  for (int64_t group = 0; group < x.tokens; group += kGroupTokens) {
    const int64_t width = group_width(x, group), passes = (width + most - 1) / most;
    for (int64_t pass = 0; pass < passes; ++pass) {
      const int64_t first = width * pass / passes;
      f(SomeTokens{group + first, width * (pass + 1) / passes - first, width});
    }
  }
}

/// Columns of chunks [from, from + count) of panels [begin, end), at most a block.
template <Family F>
void multiply_block(const PackedView& w, int64_t begin, int64_t end, int64_t from, int64_t count,
                    const ActivationView& x, Table table, float* out, int64_t stride) {
  ChunkBytes<F> decoded[kBlockPanels][kBlockChunks];
  for (int64_t panel = begin; panel < end; ++panel) {
    const uint8_t* data = w.data + static_cast<uint64_t>(panel) * w.panel_bytes;
    for (int64_t c = 0; c < count; ++c) {
      JoinedScales<F> joined;
      decode_chunk<F>(joined.chunk(data + (from + c) * chunk_bytes(traits(F), kChunkTiles, 0), table),
                      decoded[panel - begin][c]);
    }
  }
  for_tokens(x, kTokens, [&](const SomeTokens& some) {
    const auto two = pick_decoded<F, 2, kTokens>(some.count), one = pick_decoded<F, 1, kTokens>(some.count);
    const int64_t next = some.first + some.count;
    for (int64_t t = next; t < next + kTokens && t < x.tokens; ++t) {  // to be visited next: rows lie far apart
      for (int64_t panel = begin; panel < end; ++panel) __builtin_prefetch(out + t * stride + panel * kPanelRows, 1);
    }
    const ActivationChunk* own = chunk_of(x, some.first, from);
    const ActivationChunk* others = chunk_of(x, next < x.tokens ? next : 0, from);
    for (int64_t panel = begin; panel < end; panel += 2) {
      const int64_t row = panel * kPanelRows;
      const SomeChunks tokens{own, some.width, panel + 2 < end ? own : others};
      (panel + 2 <= end ? two : one)(decoded + (panel - begin), count, tokens, from == 0,
                                     out + some.first * stride + row, stride, w.rows - row);
    }
  });
}

template <Family F>
void matmul_chunks_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                      int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  const Table table = table_of<F>(w);
  if (x.tokens > most_stored(kTraits)) {
    const int64_t chunks = w.cols / kChunkCols;
    for (int64_t from = 0; from < chunks; from += kBlockChunks) {
      const int64_t count = chunks - from < kBlockChunks ? chunks - from : kBlockChunks;
      for (int64_t panel = begin; panel < end; panel += kBlockPanels) {
        const int64_t last = end - panel < kBlockPanels ? end : panel + kBlockPanels;
        multiply_block<F>(w, panel, last, from, count, x, table, out, stride);
      }
    }
    return;
  }
  if (x.tokens == 1 && w.panel_bytes > longest_single_panel(kTraits)) {
    constexpr int kPanels = streams(kTraits);
    for (; begin + kPanels <= end; begin += kPanels) {
      multiply_stored<F, kPanels, 1>(w, begin, table, static_cast<const ActivationChunk*>(x.data), 1, out, stride);
    }
  }
  for (int64_t panel = begin; panel < end; ++panel) {
    for_tokens(x, kFewTokens, [&](const SomeTokens& some) {
      pick_stored<F, kFewTokens>(some.count)(w, panel, table, chunk_of(x, some.first, 0), some.width,
                                             out + some.first * stride, stride);
    });
  }
}

}  // namespace

const int kChunkGroup = kGroupTokens;

void matmul_chunks(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                   int64_t out_stride) {
  switch (w.family) {
    case Family::K2:
      return matmul_chunks_of<Family::K2>(w, begin, end, x, out, out_stride);
    case Family::K3:
      return matmul_chunks_of<Family::K3>(w, begin, end, x, out, out_stride);
    case Family::K4:
      return matmul_chunks_of<Family::K4>(w, begin, end, x, out, out_stride);
    case Family::TK4:
      return matmul_chunks_of<Family::TK4>(w, begin, end, x, out, out_stride);
    case Family::K5:
      return matmul_chunks_of<Family::K5>(w, begin, end, x, out, out_stride);
    case Family::K6:
      return matmul_chunks_of<Family::K6>(w, begin, end, x, out, out_stride);
    default:
      return;
  }
}

}  // namespace lowbit::zen4
