// What matmul_codes_body.h needs of AVX2, plain or (where __AVXVNNI__ is defined) with AVX-VNNI; included inside the
// namespace of the instruction set.

namespace {

using Ints = __m256i;
using Floats = __m256;

constexpr int kRows = 8;  ///< of a panel that one register holds
/// Tokens multiplied at once, by a panel when they are few; registers of rows multiplied at once when they are many.
constexpr int kFewTokens = 4, kTokens = 4, kManyUnits = 2;
constexpr int few_tokens(FamilyTraits) { return kFewTokens; }
/// Up to how many tokens weights are decoded in registers, for every few_tokens() once more, as decoding them to memory
/// takes more time.
#if defined(__AVXVNNI__)
constexpr int64_t most_in_registers(FamilyTraits) { return 2 * kFewTokens; }  // not measured
constexpr int kGroupTokens = 2 * kFewTokens;                                  ///< tokens that lie together
#else
constexpr int64_t most_in_registers(FamilyTraits t) {
  return ((t.bits == 4 || t.bits == 8) && !t.table ? 4 : 2) * kFewTokens;
}
constexpr int kGroupTokens = 4 * kFewTokens;  ///< tokens that lie together
#endif
/// Panels that one token reads at once, and what it asks for ahead of each: a core keeps few misses in the air by
/// itself (22 on Zen 2), so what is asked for has to be near enough that the second cache's own prefetching has it. A
/// few tokens take one panel at a time, and take longer over it.
constexpr int streams(FamilyTraits) { return 2; }
constexpr uint64_t longest_single_panel(FamilyTraits) { return 0; }
constexpr int kLinesOfNext = 0;
constexpr Prefetch ahead_of_one(FamilyTraits, int) { return {768, 1}; }
constexpr Prefetch kAheadOfFew{4096, 2}, kAheadOfMany{768, 1};

LOWBIT_INLINE Ints load_bytes(const uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
LOWBIT_INLINE void store_bytes(uint8_t* p, Ints a) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), a); }
LOWBIT_INLINE Floats load_floats(const float* p) { return _mm256_load_ps(p); }
LOWBIT_INLINE void store_floats(float* p, Floats a) { _mm256_store_ps(p, a); }
LOWBIT_INLINE Floats load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
LOWBIT_INLINE Ints widen_signed(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
LOWBIT_INLINE Ints widen_unsigned(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

LOWBIT_INLINE __m256i row_mask(int64_t rows) {
  const int left = rows > 0 ? static_cast<int>(rows) : 0;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/// The outputs of up to kRows rows. Masked stores are slow on AMD's processors.
LOWBIT_INLINE Floats load_rows(const float* p, int64_t rows) {
  return rows >= kRows ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, row_mask(rows));
}
LOWBIT_INLINE void store_rows(float* p, Floats a, int64_t rows) {
  if (rows >= kRows) return _mm256_storeu_ps(p, a);
  _mm256_maskstore_ps(p, row_mask(rows), a);
}

LOWBIT_INLINE Ints zero() { return _mm256_setzero_si256(); }
LOWBIT_INLINE Floats zero_floats() { return _mm256_setzero_ps(); }
LOWBIT_INLINE Ints every_byte(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
LOWBIT_INLINE Ints every_int(int x) { return _mm256_set1_epi32(x); }
LOWBIT_INLINE Floats every_float(float x) { return _mm256_set1_ps(x); }
LOWBIT_INLINE Ints bits_and(Ints a, Ints b) { return _mm256_and_si256(a, b); }
/// a | (b & mask)
LOWBIT_INLINE Ints or_masked(Ints a, Ints b, Ints mask) { return _mm256_or_si256(a, _mm256_and_si256(b, mask)); }
template <int kOffset>
LOWBIT_INLINE Ints bytes_minus(Ints a) {
  return _mm256_sub_epi8(a, every_byte(kOffset));
}
template <int kBy>
LOWBIT_INLINE Ints words_left(Ints a) {
  return _mm256_slli_epi16(a, kBy);
}
template <int kBy>
LOWBIT_INLINE Ints words_right(Ints a) {
  return _mm256_srli_epi16(a, kBy);
}
constexpr bool kShiftsBytes = false;  ///< words_left and words_right let nothing in from a neighbour
template <unsigned kBy>
LOWBIT_INLINE Ints ints_left(Ints a) {
  return _mm256_slli_epi32(a, kBy);
}
template <unsigned kBy>
LOWBIT_INLINE Ints ints_right(Ints a) {
  return _mm256_srli_epi32(a, kBy);
}
LOWBIT_INLINE Ints ints_plus(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
LOWBIT_INLINE Ints ints_minus(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
LOWBIT_INLINE Ints high_nibbles(Ints a) { return _mm256_srli_epi32(a, 4); }

using Table = __m256i;
LOWBIT_INLINE Table load_table(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
LOWBIT_INLINE Ints look_up(Table table, Ints codes) { return _mm256_shuffle_epi8(table, codes); }

LOWBIT_INLINE Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
LOWBIT_INLINE Floats as_floats(Ints a) { return _mm256_castsi256_ps(a); }
LOWBIT_INLINE Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
LOWBIT_INLINE Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
LOWBIT_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
LOWBIT_INLINE Floats fnma(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }

/// Four activations for all rows: those of a group.
template <int kGroup>
LOWBIT_INLINE Ints load_four(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x + 4 * kGroup, sizeof four);
  return every_int(four);
}

#if defined(__AVXVNNI__)
/// Codes of up to 8 bits enter products as they are, and products of 4 columns are added to 32-bit sums in one step.
struct DirectDot {
  static constexpr bool kSigned = false, kFullBytes = true, kInWords = false, kInSquares = false, kSplit = false;
  LOWBIT_INLINE static Ints add(Ints dot, Ints codes, Ints four) { return _mm256_dpbusd_avx_epi32(dot, codes, four); }
  /// The lower half, or the lowest byte, of each int as often as it fits.
  LOWBIT_INLINE static Ints two_words(Ints a) {
    return _mm256_shuffle_epi8(
        a, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13)));
  }
  LOWBIT_INLINE static Ints four_bytes(Ints a) {
    return _mm256_shuffle_epi8(
        a, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)));
  }
  LOWBIT_INLINE static Ints multiply_words(Ints a, Ints b) { return _mm256_mullo_epi16(a, b); }
  LOWBIT_INLINE static Ints add_words(Ints a, Ints b) { return _mm256_add_epi16(a, b); }
};
template <int kBits, bool kTable>
using DotRule = DirectDot;
template <int kBits, bool kTable>
using DecodedRule = DirectDot;
#else
/// Products of 2 columns are 16-bit sums, saturated: a pair is at most 2 * 127 * (2^bits - 1), so kStep groups of 4
/// columns are added up before they are widened. Codes of 8 bits are too large: they enter as signed numbers of at most
/// 128, whose sign goes to the activation, so that a pair stays within 2 * 128 * 127. Those from a table are never -128
/// and can take the activation's sign (kTakeSigns): its magnitude serves all rows.
template <bool kAreSigned, int kGroups, bool kTakeSigns>
struct DotInWords {
  static constexpr bool kSigned = kAreSigned, kFullBytes = false, kInWords = kGroups > 1, kInSquares = false;
  static constexpr bool kSplit = false;
  static constexpr int kStep = kGroups;
  using Words = Ints;
  /// Here and now: GCC would make all products of a tile first, which do not fit into registers, and then add.
  LOWBIT_INLINE static Ints now(Ints sum) {
    asm volatile("" : "+x"(sum));
    return sum;
  }
  LOWBIT_INLINE static Ints products(Ints codes, Ints four) {
    if constexpr (kTakeSigns) return _mm256_maddubs_epi16(_mm256_abs_epi8(four), _mm256_sign_epi8(codes, four));
    if constexpr (kSigned) return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(four, codes));
    return now(_mm256_maddubs_epi16(codes, four));
  }
  LOWBIT_INLINE static Ints add_words(Ints a, Ints b) { return now(_mm256_add_epi16(a, b)); }
  LOWBIT_INLINE static Ints add_widened(Ints dot, Ints words) {
    return now(_mm256_add_epi32(dot, _mm256_madd_epi16(words, _mm256_set1_epi16(1))));
  }
  LOWBIT_INLINE static Ints add(Ints dot, Ints codes, Ints four) { return add_widened(dot, products(codes, four)); }
};
/// Groups that may be added up in 16 bits.
constexpr int steps(int bits, bool table) { return bits == 8 || table ? 1 : bits <= 4 ? 8 : bits == 5 ? 4 : 2; }
template <int kBits, bool kTable>
using DotRule = DotInWords<kBits == 8 || kTable, steps(kBits, kTable), kTable>;

/// Signed codes of 8 bits, decoded for many tokens, in tiles of one part: signs cost a register's worth of memory once
/// instead of an instruction on the multiplier's pipes for each token. With s = -1 where a code c is negative, else 0,
///   c x = |c| (x ^ s) + (|c| where s = -1),
/// and what is in brackets last is no matter of the token: dots start with it. A pair is from -2 * 128 * 128 to
/// 2 * 127 * 127.
struct SplitDot : DotInWords<true, 1, false> {
  static constexpr bool kSplit = true;
  struct Codes {
    Ints magnitudes, signs;
  };
  LOWBIT_INLINE static Codes split(Ints codes) { return {_mm256_abs_epi8(codes), _mm256_cmpgt_epi8(zero(), codes)}; }
  LOWBIT_INLINE static Ints products(Codes codes, Ints four) {
    return _mm256_maddubs_epi16(codes.magnitudes, _mm256_xor_si256(four, codes.signs));
  }
  LOWBIT_INLINE static Ints add(Ints dot, Codes codes, Ints four) { return add_widened(dot, products(codes, four)); }
  /// sum + the negative codes of a group.
  LOWBIT_INLINE static Words add_negative(Words sum, Codes codes) {
    return add_words(sum, _mm256_maddubs_epi16(codes.magnitudes, codes.signs));
  }
  /// What dots start from, by the sum of all negative codes.
  LOWBIT_INLINE static Ints start(Words negative) {
    return _mm256_sub_epi32(every_int(kDotBits), add_widened(zero(), negative));
  }
};
/// How codes decoded to bytes are multiplied.
template <int kBits, bool kTable>
using DecodedRule = std::conditional_t<kBits == 8 || kTable, SplitDot, DotInWords<false, steps(kBits, kTable), false> >;
#endif

}  // namespace
