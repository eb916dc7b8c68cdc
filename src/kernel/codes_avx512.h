// What matmul_codes_body.h needs of AVX-512 with VNNI; included inside the namespace of the instruction set.

namespace {

using Ints = __m512i;
using Floats = __m512;

constexpr int kRows = 16;  ///< of a panel that one register holds
/// Tokens multiplied at once, by a panel when they are few; registers of rows multiplied at once when they are many.
constexpr int kFewTokens = 12, kTokens = 6, kManyUnits = 2;
/// The same of a family: sums of chunks take registers too.
constexpr int few_tokens(FamilyTraits t) { return !scaled_by_chunks(t) ? kFewTokens : t.minima ? 6 : 8; }

// Below: up to how many tokens weights are decoded in registers, for every few_tokens() once more, as decoding them to
// memory takes more time; tokens that lie together; of one token, panels that are read at once if each has more than
// longest_single_panel() bytes, lines of the next ones that are asked for before their turn, and how far weights are
// asked for ahead; the same of more tokens.
#if defined(LOWBIT_ZEN4)
constexpr int64_t most_in_registers(FamilyTraits t) {
  if (t.bits == 4 || t.bits == 8 || (t.bits == 2 && t.sub_scales == 0)) return kAnyTokens;
  return t.sub_scales == 2 ? kFewTokens : 2 * kFewTokens;
}
constexpr int kGroupTokens = 4 * kFewTokens;
constexpr bool has_long_headers(FamilyTraits t) { return t.minima && t.sub_scales == 0; }  // they break the pace
constexpr int streams(FamilyTraits t) { return t.bits == 2 && t.sub_scales == 0 ? 1 : 4; }
constexpr uint64_t longest_single_panel(FamilyTraits t) {
  return t.sub_scales > 0 ? 40 << 10 : has_long_headers(t) && t.bits == 8 ? 0 : kShortPanel;
}
constexpr int kLinesOfNext = 8;
constexpr Prefetch ahead_of_one(FamilyTraits t, int panels) {
  if (!has_long_headers(t) || t.bits != 4) return {0, 1};
  return panels > 1 ? Prefetch{1024, 2} : Prefetch{4096, 1};
}
constexpr Prefetch kAheadOfFew{4096, 2}, kAheadOfMany{0, 2};
#else
// Intel's; kFewTokens was measured on Zen 4 only.
constexpr int64_t most_in_registers(FamilyTraits) { return kFewTokens; }
#if defined(LOWBIT_TILES)
constexpr int kGroupTokens = 16;
#else
constexpr int kGroupTokens = kFewTokens;
#endif
constexpr int streams(FamilyTraits) { return 1; }
constexpr uint64_t longest_single_panel(FamilyTraits) { return 0; }
constexpr int kLinesOfNext = 0;
constexpr Prefetch ahead_of_one(FamilyTraits, int) { return {8192, 1}; }
constexpr Prefetch kAheadOfFew{8192, 1}, kAheadOfMany{8192, 1};
#endif

LOWBIT_INLINE Ints load_bytes(const uint8_t* p) { return _mm512_load_si512(p); }
LOWBIT_INLINE void store_bytes(uint8_t* p, Ints a) { _mm512_store_si512(p, a); }
LOWBIT_INLINE Ints load_ints(const int32_t* p) { return _mm512_load_si512(p); }
LOWBIT_INLINE void store_ints(int32_t* p, Ints a) { _mm512_store_si512(p, a); }
LOWBIT_INLINE Floats load_floats(const float* p) { return _mm512_load_ps(p); }
LOWBIT_INLINE void store_floats(float* p, Floats a) { _mm512_store_ps(p, a); }
LOWBIT_INLINE Floats load_halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
LOWBIT_INLINE Ints widen_signed(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
LOWBIT_INLINE Ints widen_unsigned(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}

LOWBIT_INLINE __mmask16 row_mask(int64_t rows) {
  return static_cast<__mmask16>(rows >= kRows ? 0xffffu : rows > 0 ? (1u << rows) - 1 : 0u);
}
/// The outputs of up to kRows rows.
LOWBIT_INLINE Floats load_rows(const float* p, int64_t rows) { return _mm512_maskz_loadu_ps(row_mask(rows), p); }
LOWBIT_INLINE void store_rows(float* p, Floats a, int64_t rows) { _mm512_mask_storeu_ps(p, row_mask(rows), a); }

LOWBIT_INLINE Ints zero() { return _mm512_setzero_si512(); }
LOWBIT_INLINE Floats zero_floats() { return _mm512_setzero_ps(); }
LOWBIT_INLINE Ints every_byte(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
LOWBIT_INLINE Ints every_int(int x) { return _mm512_set1_epi32(x); }
LOWBIT_INLINE Floats every_float(float x) { return _mm512_set1_ps(x); }
LOWBIT_INLINE Ints bits_and(Ints a, Ints b) { return _mm512_and_si512(a, b); }
/// a | (b & mask)
LOWBIT_INLINE Ints or_masked(Ints a, Ints b, Ints mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }
template <int kOffset>
LOWBIT_INLINE Ints bytes_minus(Ints a) {
  return _mm512_sub_epi8(a, every_byte(kOffset));
}
template <unsigned kBy>
LOWBIT_INLINE Ints words_left(Ints a) {
  return _mm512_slli_epi16(a, kBy);
}
template <unsigned kBy>
LOWBIT_INLINE Ints words_right(Ints a) {
  return _mm512_srli_epi16(a, kBy);
}
constexpr bool kShiftsBytes = false;  ///< words_left and words_right let nothing in from a neighbour
template <unsigned kBy>
LOWBIT_INLINE Ints ints_left(Ints a) {
  return _mm512_slli_epi32(a, kBy);
}
template <unsigned kBy>
LOWBIT_INLINE Ints ints_right(Ints a) {
  return _mm512_srli_epi32(a, kBy);
}
LOWBIT_INLINE Ints ints_plus(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
LOWBIT_INLINE Ints ints_minus(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
LOWBIT_INLINE Ints high_nibbles(Ints a) { return _mm512_srli_epi32(a, 4); }

using Table = __m512i;
LOWBIT_INLINE Table load_table(const uint8_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
LOWBIT_INLINE Ints look_up(Table table, Ints codes) { return _mm512_shuffle_epi8(table, codes); }

LOWBIT_INLINE Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
LOWBIT_INLINE Floats as_floats(Ints a) { return _mm512_castsi512_ps(a); }
LOWBIT_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
LOWBIT_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
LOWBIT_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
LOWBIT_INLINE Floats fnma(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }

/// Four activations for all rows: those of a group.
template <int kGroup>
LOWBIT_INLINE Ints load_four(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x + 4 * kGroup, sizeof four);
  return every_int(four);
}

/// Codes of up to 8 bits enter products as they are, and products of 4 columns are added to 32-bit sums in one step.
struct DirectDot {
  static constexpr bool kSigned = false, kFullBytes = true, kInWords = false, kInSquares = false, kSplit = false;
  LOWBIT_INLINE static Ints add(Ints dot, Ints codes, Ints four) { return _mm512_dpbusd_epi32(dot, codes, four); }
  /// The lower half, or the lowest byte, of each int as often as it fits.
  LOWBIT_INLINE static Ints two_words(Ints a) {
    return _mm512_shuffle_epi8(
        a, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13)));
  }
  LOWBIT_INLINE static Ints four_bytes(Ints a) {
    return _mm512_shuffle_epi8(
        a, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)));
  }
  LOWBIT_INLINE static Ints multiply_words(Ints a, Ints b) { return _mm512_mullo_epi16(a, b); }
  LOWBIT_INLINE static Ints add_words(Ints a, Ints b) { return _mm512_add_epi16(a, b); }
};
template <int kBits, bool kTable>
using DotRule = DirectDot;
/// How codes decoded to bytes are multiplied.
template <int kBits, bool kTable>
using DecodedRule = DotRule<kBits, kTable>;

}  // namespace
