// What matmul_codes_body.h needs of NEON: plain ARMv8.0, or with the dot products of ARMv8.2 (where
// __ARM_FEATURE_DOTPROD is defined), or with matrix products too (__ARM_FEATURE_MATMUL_INT8); included inside the
// namespace of the instruction set.

namespace {

using Ints = int32x4_t;
using Floats = float32x4_t;

constexpr int kRows = 4;  ///< of a panel that one register holds
/// Tokens multiplied at once, by a panel when they are few; registers of rows multiplied at once when they are many.
constexpr int kFewTokens = 4, kTokens = 4, kManyUnits = 2;
constexpr int few_tokens(FamilyTraits) { return kFewTokens; }
/// Up to how many tokens weights are decoded in registers, for every few_tokens() once more (not measured).
constexpr int64_t most_in_registers(FamilyTraits) { return 2 * kFewTokens; }
/// Tokens that lie together.
constexpr int kGroupTokens = 2 * kFewTokens;
/// Panels that one token reads at once, and how far ahead (not measured).
constexpr int streams(FamilyTraits) { return 1; }
constexpr uint64_t longest_single_panel(FamilyTraits) { return 0; }
constexpr int kLinesOfNext = 0;
constexpr Prefetch ahead_of_one(FamilyTraits, int) { return {8192, 1}; }
constexpr Prefetch kAheadOfFew{8192, 1}, kAheadOfMany{8192, 1};

LOWBIT_INLINE uint8x16_t bytes_of(Ints a) { return vreinterpretq_u8_s32(a); }
LOWBIT_INLINE int8x16_t signed_of(Ints a) { return vreinterpretq_s8_s32(a); }
LOWBIT_INLINE Ints ints_of(uint8x16_t a) { return vreinterpretq_s32_u8(a); }

LOWBIT_INLINE Ints load_bytes(const uint8_t* p) { return ints_of(vld1q_u8(p)); }
LOWBIT_INLINE void store_bytes(uint8_t* p, Ints a) { vst1q_u8(p, bytes_of(a)); }
LOWBIT_INLINE Floats load_floats(const float* p) { return vld1q_f32(p); }
LOWBIT_INLINE void store_floats(float* p, Floats a) { vst1q_f32(p, a); }
LOWBIT_INLINE Floats load_halves(const uint8_t* p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
LOWBIT_INLINE uint8x8_t load_four_bytes(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return vcreate_u8(word);
}
LOWBIT_INLINE Ints widen_signed(const uint8_t* p) {
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_four_bytes(p)))));
}
LOWBIT_INLINE Ints widen_unsigned(const uint8_t* p) {
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load_four_bytes(p)))));
}

/// The outputs of up to kRows rows.
LOWBIT_INLINE Floats load_rows(const float* p, int64_t rows) {
  if (rows >= kRows) return vld1q_f32(p);
  float some[kRows] = {};
  for (int64_t i = 0; i < rows; ++i) some[i] = p[i];
  return vld1q_f32(some);
}
LOWBIT_INLINE void store_rows(float* p, Floats a, int64_t rows) {
  if (rows >= kRows) return vst1q_f32(p, a);
  float some[kRows];
  vst1q_f32(some, a);
  for (int64_t i = 0; i < rows; ++i) p[i] = some[i];
}

LOWBIT_INLINE Ints zero() { return vdupq_n_s32(0); }
LOWBIT_INLINE Floats zero_floats() { return vdupq_n_f32(0); }
LOWBIT_INLINE Ints every_byte(int x) { return ints_of(vdupq_n_u8(static_cast<uint8_t>(x))); }
LOWBIT_INLINE Ints every_int(int x) { return vdupq_n_s32(x); }
LOWBIT_INLINE Floats every_float(float x) { return vdupq_n_f32(x); }
LOWBIT_INLINE Ints bits_and(Ints a, Ints b) { return vandq_s32(a, b); }
/// a | (b & mask), where a has none of the mask's bits.
LOWBIT_INLINE Ints or_masked(Ints a, Ints b, Ints mask) { return vbslq_s32(vreinterpretq_u32_s32(mask), b, a); }
template <int kOffset>
LOWBIT_INLINE Ints bytes_minus(Ints a) {
  return ints_of(vsubq_u8(bytes_of(a), vdupq_n_u8(kOffset)));
}
template <int kBy>
LOWBIT_INLINE Ints words_left(Ints a) {
  return ints_of(vshlq_n_u8(bytes_of(a), kBy));
}
template <int kBy>
LOWBIT_INLINE Ints words_right(Ints a) {
  return ints_of(vshrq_n_u8(bytes_of(a), kBy));
}
constexpr bool kShiftsBytes = true;  ///< words_left and words_right let nothing in from a neighbour
template <int kBy>
LOWBIT_INLINE Ints ints_left(Ints a) {
  return vshlq_n_s32(a, kBy);
}
template <int kBy>
LOWBIT_INLINE Ints ints_right(Ints a) {
  return vshrq_n_s32(a, kBy);
}
LOWBIT_INLINE Ints ints_plus(Ints a, Ints b) { return vaddq_s32(a, b); }
LOWBIT_INLINE Ints ints_minus(Ints a, Ints b) { return vsubq_s32(a, b); }
LOWBIT_INLINE Ints high_nibbles(Ints a) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), 4)); }

using Table = uint8x16_t;
LOWBIT_INLINE Table load_table(const uint8_t* p) { return vld1q_u8(p); }
LOWBIT_INLINE Ints look_up(Table table, Ints codes) { return ints_of(vqtbl1q_u8(table, bytes_of(codes))); }

LOWBIT_INLINE Floats to_floats(Ints a) { return vcvtq_f32_s32(a); }
LOWBIT_INLINE Floats as_floats(Ints a) { return vreinterpretq_f32_s32(a); }
LOWBIT_INLINE Floats sub(Floats a, Floats b) { return vsubq_f32(a, b); }
LOWBIT_INLINE Floats mul(Floats a, Floats b) { return vmulq_f32(a, b); }
LOWBIT_INLINE Floats fma(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
LOWBIT_INLINE Floats fnma(Floats a, Floats b, Floats c) { return vfmsq_f32(c, a, b); }

/// Four activations for all rows: those of a group, a lane of sixteen.
template <int kLane>
struct Four {
  int8x16_t sixteen;
};
template <int kGroup>
LOWBIT_INLINE Four<kGroup % 4> load_four(const int8_t* x) {
  return {vld1q_s8(x + kGroup / 4 * 16)};
}

#if defined(__ARM_FEATURE_DOTPROD)
/// Products of 4 columns are added to 32-bit sums in one step.
template <bool kAreSigned>
struct DirectDot {
  static constexpr bool kSigned = kAreSigned, kFullBytes = false, kInWords = false, kInSquares = false, kSplit = false;
  template <int kLane>
  LOWBIT_INLINE static Ints add(Ints dot, Ints codes, Four<kLane> four) {
    return vdotq_laneq_s32(dot, signed_of(codes), four.sixteen, kLane);
  }
};
template <int kBits, bool kTable>
using DotRule = DirectDot<kBits == 8 || kTable>;
#else
/// A product is a 16-bit sum: at most 127 * (2^bits - 1), or 127 * 128 of signed codes, so kStep groups of 4 columns
/// are added up before they are widened.
template <bool kAreSigned, int kGroups>
struct DotInWords {
  static constexpr bool kSigned = kAreSigned, kFullBytes = false, kInWords = true, kInSquares = false, kSplit = false;
  static constexpr int kStep = kGroups;
  using Words = int16x8x2_t;
  template <int kLane>
  LOWBIT_INLINE static Words products(Ints codes, Four<kLane> four) {
    const int8x16_t x = signed_of(vdupq_laneq_s32(vreinterpretq_s32_s8(four.sixteen), kLane)), c = signed_of(codes);
    return {{vmull_s8(vget_low_s8(c), vget_low_s8(x)), vmull_high_s8(c, x)}};
  }
  LOWBIT_INLINE static Words add_words(Words a, Words b) {
    return {{vaddq_s16(a.val[0], b.val[0]), vaddq_s16(a.val[1], b.val[1])}};
  }
  LOWBIT_INLINE static Ints add_widened(Ints dot, Words words) {
    return vaddq_s32(dot, vpaddq_s32(vpaddlq_s16(words.val[0]), vpaddlq_s16(words.val[1])));
  }
};
template <int kBits, bool kTable>
using DotRule = DotInWords<kBits == 8 || kTable, kBits == 8 || kTable ? 2
                                                 : kBits == 6         ? 4
                                                                      : 8>;
#endif

#if defined(__ARM_FEATURE_MATMUL_INT8)
/// Products of 8 columns are added to squares of 2 rows by 2 tokens. A token without a partner is its own.
struct SquareDot {
  static constexpr bool kSigned = true, kFullBytes = false, kInWords = false, kInSquares = true, kSplit = false;

  /// Two groups of columns of 4 rows become 8 columns of 2 rows each.
  LOWBIT_INLINE static void arrange(Ints& first, Ints& second) {
    const Ints low = vzip1q_s32(first, second);
    second = vzip2q_s32(first, second);
    first = low;
  }

  template <int kGroup, int kEnd, typename Tile, int P, int T, int kPairs>
  LOWBIT_INLINE static void add_squares(const Tile (&tile)[P], const ActivationTile* x, Ints (&squares)[P][2][kPairs]) {
    Ints codes[P][2];
    for (int p = 0; p < P; ++p) {
      codes[p][0] = tile[p].template group<kGroup>();
      codes[p][1] = tile[p].template group<kGroup + 1>();
    }
    for (int i = 0; i < kPairs; ++i) {
      const int partner = 2 * i + 1 < T ? 2 * i + 1 : 2 * i;
      const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x[2 * i].codes + kGroup / 4 * 16));
      const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(x[partner].codes + kGroup / 4 * 16));
      const int8x16_t both = vreinterpretq_s8_s64(kGroup % 4 == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b));
      for (int p = 0; p < P; ++p) {
        for (int h = 0; h < 2; ++h) squares[p][h][i] = vmmlaq_s32(squares[p][h][i], signed_of(codes[p][h]), both);
      }
    }
    if constexpr (kGroup + 2 < kEnd) add_squares<kGroup + 2, kEnd, Tile, P, T, kPairs>(tile, x, squares);
  }

  /// dot = kDotBits + the products of groups [kGroup, kEnd) of arranged codes.
  template <int kGroup, int kEnd, typename Tile, int P, int T>
  LOWBIT_INLINE static void dots(const Tile (&tile)[P], const ActivationTile* x, Ints (&dot)[P][T]) {
    constexpr int kPairs = (T + 1) / 2;
    Ints squares[P][2][kPairs];
    for (int p = 0; p < P; ++p) {
      for (int i = 0; i < kPairs; ++i) squares[p][0][i] = squares[p][1][i] = every_int(kDotBits);
    }
    add_squares<kGroup, kEnd, Tile, P, T, kPairs>(tile, x, squares);
    for (int p = 0; p < P; ++p) {
      for (int t = 0; t < T; ++t) {
        const Ints low = squares[p][0][t / 2], high = squares[p][1][t / 2];
        dot[p][t] = t % 2 == 0 ? vuzp1q_s32(low, high) : vuzp2q_s32(low, high);
      }
    }
  }
};
template <int kBits, bool kTable>
using DecodedRule = SquareDot;
#elif defined(__ARM_FEATURE_DOTPROD)
template <int kBits, bool kTable>
using DecodedRule = DirectDot<true>;
#else
template <int kBits, bool kTable>
using DecodedRule = DotInWords<true, kBits == 8 || kTable ? 2 : 8>;
#endif

}  // namespace
