// Codes and scales of tiles put down for many tokens, as bytes and floats; included after matmul_codes_body.h.

namespace {

/// A stored tile whose codes are multiplied by their integer scales as they are decoded, so that it has one part and
/// its dots need no scale. Those of 3 bits are negated, and so is d: -32 * -4 = 128 would not fit into a byte.
template <Family F>
struct FoldedTile {
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kParts = 1;
  static constexpr bool kMinima = kTraits.minima, kByChunks = true, kFolded = true;
  static_assert(scaled_by_chunks(kTraits));
  using Rule = DotRule<kTraits.bits, kTraits.table>;
  struct Factors {
    Floats minimum[2], d, dmin;
    Ints factor[2], offset[2];  ///< 16-bit, of each two codes

    LOWBIT_INLINE void begin_chunk(const uint8_t* chunk, int first) {
      d = load_halves(chunk + d_at(kTraits) + 2 * first);
      if constexpr (kMinima) dmin = load_halves(chunk + 2 * kPanelRows + 2 * first);
      if constexpr (!kMinima) d = sub(zero_floats(), d);
    }
    LOWBIT_INLINE void read(const uint8_t* chunk, int, int tile, int, int first) {
      for (int s = 0; s < 2; ++s) {
        const Ints sub = sub_scales<F>(chunk, tile, s, first);
        if constexpr (kMinima) {
          factor[s] = Rule::two_words(bits_and(sub, every_int(15)));
          minimum[s] = to_floats(high_nibbles(sub));
        } else {
          factor[s] = Rule::two_words(ints_minus(zero(), sub));
          offset[s] = Rule::four_bytes(ints_plus(every_int(128), ints_left<2>(sub)));
        }
      }
    }
  } scales;
  const uint8_t* vectors;
  Table table;

  /// Two products of a word do not touch one another: with their offset, if any, they are from 0 to 255.
  template <int kGroup>
  LOWBIT_INLINE Ints group() const {
    const Ints products = Rule::multiply_words(load_group<kTraits.bits, kGroup>(vectors), scales.factor[kGroup / 4]);
    if constexpr (kMinima) return products;
    return Rule::add_words(products, scales.offset[kGroup / 4]);
  }
  LOWBIT_INLINE Floats minimum(int part) const { return scales.minimum[part]; }
  LOWBIT_INLINE Floats d() const { return scales.d; }
  LOWBIT_INLINE Floats dmin() const { return scales.dmin; }
};

/// What is decoded to memory for products by Rule.
template <Family F, typename Rule>
using DecodedFrom = std::conditional_t<scaled_by_chunks(traits(F)) && Rule::kFullBytes, FoldedTile<F>, StoredTile<F> >;

/// What decoded tiles have besides where signs are apart (a rule's kSplit); their codes are magnitudes then.
template <bool kSplit>
struct TileSigns {};
template <>
struct TileSigns<true> {
  uint8_t signs[8][4 * kRows];
  uint8_t start[4 * kRows];  ///< int32 of each row: what dots start from
};

/// What sort of tile was decoded, and where each of its floats lies.
struct TileKind {
  int parts;
  bool minima, by_chunks, folded;

  constexpr int minimum_at() const { return folded ? 0 : parts; }
  constexpr int less_at() const { return minimum_at() + (!minima ? 0 : by_chunks ? 2 : 1); }
  constexpr int d_at() const { return less_at() + (folded ? 0 : 1); }
  constexpr int floats() const { return d_at() + (!by_chunks ? 0 : minima ? 2 : 1); }
};
template <typename Unit>
constexpr TileKind kind_of() {
  return {Unit::kParts, Unit::kMinima, Unit::kByChunks, Unit::kFolded};
}

/// A unit's tile decoded to one byte a code and to floats.
template <TileKind kKind, bool kSplit = false>
struct alignas(64) TileBytes : TileSigns<kSplit> {
  uint8_t codes[8][4 * kRows];
  float floats[kKind.floats()][kRows];
};

/// The codes of a group as they enter products by Rule.
template <typename Unit, typename Rule, int kGroup>
LOWBIT_INLINE Ints decoded_group(const Unit& unit) {
  constexpr FamilyTraits kTraits = Unit::kTraits;
  const Ints codes = unit.template group<kGroup>();
  if constexpr (Unit::kFolded || !has_offset(kTraits)) return codes;
  constexpr int kOffset = Unit::Rule::kSigned ? 0 : 1 << offset_shift(kTraits);  // that they have
  constexpr int kWanted = Rule::kSigned ? 0 : Rule::kFullBytes ? 128 : 1 << offset_shift(kTraits);
  if constexpr (kOffset == kWanted) return codes;
  return bytes_minus<(kOffset - kWanted) & 255>(codes);
}

template <typename Rule, int kGroup, typename Unit, typename Bytes>
LOWBIT_INLINE void store_groups(const Unit& unit, Bytes& to) {
  Ints first = decoded_group<Unit, Rule, kGroup>(unit), second = decoded_group<Unit, Rule, kGroup + 1>(unit);
  if constexpr (Rule::kInSquares) Rule::arrange(first, second);
  store_bytes(to.codes[kGroup], first);
  store_bytes(to.codes[kGroup + 1], second);
  if constexpr (kGroup + 2 < 8) store_groups<Rule, kGroup + 2>(unit, to);
}

/// The same for a rule that takes signs apart; `negative` is the sum of the negative codes so far.
template <typename Rule, int kGroup, typename Unit, typename Bytes>
LOWBIT_INLINE void store_split_groups(const Unit& unit, Bytes& to, typename Rule::Words negative) {
  const typename Rule::Codes codes = Rule::split(decoded_group<Unit, Rule, kGroup>(unit));
  store_bytes(to.codes[kGroup], codes.magnitudes);
  store_bytes(to.signs[kGroup], codes.signs);
  negative = Rule::add_negative(negative, codes);
  if constexpr (kGroup + 1 < 8) {
    store_split_groups<Rule, kGroup + 1>(unit, to, negative);
  } else {
    store_bytes(to.start, Rule::start(negative));
  }
}

template <TileKind kKind, typename Unit, typename Bytes>
LOWBIT_INLINE void store_scales(const Unit& unit, Bytes& to) {
  if constexpr (!kKind.folded) {
    for (int s = 0; s < kKind.parts; ++s) store_floats(to.floats[s], unit.scale(s));
    store_floats(to.floats[kKind.less_at()], unit.less());
  }
  for (int s = kKind.minimum_at(); s < kKind.less_at(); ++s) {
    store_floats(to.floats[s], unit.minimum(s - kKind.minimum_at()));
  }
  if constexpr (kKind.by_chunks) store_floats(to.floats[kKind.d_at()], unit.d());
  if constexpr (kKind.by_chunks && kKind.minima) store_floats(to.floats[kKind.d_at() + 1], unit.dmin());
}

template <Family F, typename Rule, typename Bytes>
void decode_tiles(const uint8_t* chunk, int half, int64_t tiles, int shared, Table table, Bytes* out) {
  using Unit = DecodedFrom<F, Rule>;
  const uint8_t* chunks[1] = {chunk};
  for_tiles<F, Unit, 1, 1, kAheadOfMany>(chunks, half, tiles, shared, table,
                                         [&](const Unit(&unit)[1], int64_t i) LOWBIT_INLINE_LAMBDA {
                                           if constexpr (Rule::kSplit) {
                                             store_split_groups<Rule, 0>(unit[0], out[i], zero());
                                           } else {
                                             store_groups<Rule, 0>(unit[0], out[i]);
                                           }
                                           store_scales<kind_of<Unit>()>(unit[0], out[i]);
                                         });
}

}  // namespace
