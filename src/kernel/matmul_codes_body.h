// Products with coded weights, written against the names of codes_*.h and included inside the namespace of an
// instruction set. matmul_ref.cc defines the order of operations.
//
// Rows are taken by units: so many as one register holds, a panel or half of one. Few tokens are bound by memory: their
// kernel decodes tiles in registers as they stream by, once more for every few tokens where that saves putting them
// down (most_in_registers(); for some families however many tokens there are). Many tokens are bound by arithmetic:
// codes and scales of a block of tiles are decoded once, to bytes and floats that stay in a near cache, and one kernel
// for all families multiplies them, two units at a time so that a broadcast serves both.

namespace {

constexpr int kHalves = kPanelRows / kRows;

/// Moves bits from bit kFrom of each byte to bit kTo; what comes along from the neighbour is of no meaning.
template <int kFrom, int kTo>
LOWBIT_INLINE Ints move_bits(Ints bytes) {
  if constexpr (kFrom < kTo) return words_left<kTo - kFrom>(bytes);
  if constexpr (kFrom > kTo) return words_right<kFrom - kTo>(bytes);
  return bytes;
}

/// The kCount bits of each byte from bit kFrom on.
template <int kFrom, int kCount>
LOWBIT_INLINE Ints field(Ints bytes) {
  const Ints moved = move_bits<kFrom, 0>(bytes);
  if constexpr (kShiftsBytes && kFrom + kCount == 8) return moved;
  return bits_and(moved, every_byte((1 << kCount) - 1));
}

/// The codes of group kGroup, unsigned: byte 4 r + k is row r, column 4 kGroup + k.
template <int kBits, int kGroup, int kPiece = 0>
LOWBIT_INLINE Ints load_group(const uint8_t* vectors, Ints code = zero()) {
  constexpr Pieces kPieces = pieces_of(kBits, kGroup);
  if constexpr (kPiece < kPieces.count) {
    constexpr Piece p = kPieces.piece[kPiece];
    const Ints bytes = load_bytes(vectors + 64 * p.vector);
    if constexpr (kBits == 8) return bytes;
    if constexpr (kPiece == 0) {
      code = field<p.from, p.count>(bytes);
    } else {
      code = or_masked(code, move_bits<p.from, p.to>(bytes), every_byte(((1 << p.count) - 1) << p.to));
    }
    return load_group<kBits, kGroup, kPiece + 1>(vectors, code);
  }
  return code;
}

/// A chunk's split scales become bytes, [part][tile][row].
constexpr int kPartScales = kChunkTiles * kPanelRows;
template <int kVector = 0>
LOWBIT_INLINE void join_scales(const uint8_t* chunk, uint8_t* out) {
  constexpr int kSize = static_cast<int>(sizeof(Ints)), kAt = kVector * kSize, kTile = kAt / kPanelRows;
  const Ints lower = load_bytes(chunk + kAt), upper = load_bytes(chunk + kUpperScalesAt + kAt % (kPartScales / 2));
  const Ints first = or_masked(field<0, 4>(lower), move_bits<upper_scale_bit(kTile, 0), 4>(upper), every_byte(48));
  const Ints second = or_masked(field<4, 4>(lower), move_bits<upper_scale_bit(kTile, 1), 4>(upper), every_byte(48));
  store_bytes(out + kAt, bytes_minus<32>(first));
  store_bytes(out + kPartScales + kAt, bytes_minus<32>(second));
  if constexpr (kAt + kSize < kPartScales) join_scales<kVector + 1>(chunk, out);
}

/// The integer scales of part `s` of a unit's tile; of 2 bits together with minima, scale | minimum << 4. `chunk` is
/// what join_scales() made of it where scales are split, `first` the unit's first row in its panel.
template <Family F>
LOWBIT_INLINE Ints sub_scales(const uint8_t* chunk, int tile, int s, int first) {
  constexpr FamilyTraits kTraits = traits(F);
  if constexpr (split_scales(kTraits)) return widen_signed(chunk + kPartScales * s + kPanelRows * tile + first);
  const uint8_t* at = chunk + scales_at(kTraits) + tile * scales_bytes(kTraits) + kPanelRows * s + first;
  return kTraits.bits == 2 ? widen_unsigned(at) : widen_signed(at);
}

/// What multiplies the dots and sums of a unit's tile; by chunks, without d and dmin.
template <Family F>
struct Scales {
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kParts = kTraits.sub_scales == 2 ? 2 : 1;
  Floats scale[kParts], minimum[kParts];
  Floats d, dmin;  ///< of the chunk, where tiles have integer scales

  LOWBIT_INLINE Floats times(Floats of_chunk, Ints of_tile) const {
    const Floats factor = to_floats(of_tile);
    if constexpr (scaled_by_chunks(kTraits)) return factor;
    return mul(of_chunk, factor);
  }

  /// `first` is the unit's first row in its panel.
  LOWBIT_INLINE void begin_chunk(const uint8_t* chunk, int first) {
    if constexpr (kTraits.sub_scales == 0) return;
    d = load_halves(chunk + d_at(kTraits) + 2 * first);
    if constexpr (kTraits.minima) dmin = load_halves(chunk + 2 * kPanelRows + 2 * first);
  }
  /// `chunk` is that of the tile.
  LOWBIT_INLINE void read(const uint8_t* chunk, int tiles, int tile, int shared, int first) {
    if constexpr (kTraits.sub_scales == 0) {
      const int at = (tile >> shared) * scales_bytes(kTraits) + 2 * first;
      scale[0] = load_halves(chunk + scales_at(kTraits) + at);
      if constexpr (kTraits.minima) minimum[0] = load_halves(chunk + minima_at(kTraits, tiles, shared) + at);
      if constexpr (kTraits.zeros) minimum[0] = mul(minimum[0], scale[0]);
      return;
    }
    for (int s = 0; s < kParts; ++s) {
      const Ints sub = sub_scales<F>(chunk, tile, s, first);
      if constexpr (kTraits.bits == 2) {
        scale[s] = times(d, bits_and(sub, every_int(15)));
        minimum[s] = times(dmin, high_nibbles(sub));
        continue;
      }
      scale[s] = times(d, sub);
      if constexpr (kTraits.minima) {
        const uint8_t* minima = chunk + minima_at(kTraits, tiles, 0) + tile * scales_bytes(kTraits);
        minimum[s] = times(dmin, widen_unsigned(minima + kPanelRows * s + first));
      }
    }
  }
};

/// The offset of symmetric codes: codes as they enter products have none, or dots start with it taken off, which is at
/// hand for 8 (of one scale a tile) and 128. Where unsigned bytes of any size enter products (a rule's kFullBytes),
/// codes that are decoded get an offset of 128.
enum class Offset { kNone, k8, k128, kOther };
/// Of codes whose offset is 2^shift, if they have one.
template <typename Rule>
constexpr Offset offset_of(FamilyTraits t, int shift) {
  if (!has_offset(t) || Rule::kSigned) return Offset::kNone;
  return shift == 7 ? Offset::k128 : shift == 3 && t.sub_scales < 2 ? Offset::k8 : Offset::kOther;
}

/// A unit's tile as it is stored.
template <Family F>
struct StoredTile {
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kParts = Scales<F>::kParts;
  static constexpr bool kMinima = kTraits.minima, kByChunks = scaled_by_chunks(kTraits), kFolded = false;
  using Rule = DotRule<kTraits.bits, kTraits.table>;
  static constexpr Offset kOffset = offset_of<Rule>(kTraits, offset_shift(kTraits));
  static constexpr int kOffsetShift = offset_shift(kTraits);
  const uint8_t* vectors;
  Table table;  ///< of table_of()
  Scales<F> scales;

  /// The codes as they enter products.
  template <int kGroup>
  LOWBIT_INLINE Ints group() const {
    Ints codes = load_group<kTraits.bits, kGroup>(vectors);
    if constexpr (kTraits.table) return look_up(table, codes);
    if constexpr (Rule::kSigned) codes = bytes_minus<1 << offset_shift(kTraits)>(codes);
    return codes;
  }
  LOWBIT_INLINE Floats scale(int part) const { return scales.scale[part]; }
  LOWBIT_INLINE Floats minimum(int part) const { return scales.minimum[part]; }
  LOWBIT_INLINE Floats d() const { return scales.d; }
  LOWBIT_INLINE Floats dmin() const { return scales.dmin; }
  LOWBIT_INLINE Floats less() const { return mul(scales.scale[0], every_float(-kDotZero)); }
};

/// The values as they enter products of stored tiles: signed if the rule takes signed codes.
template <Family F>
LOWBIT_INLINE Table table_of(const PackedView& w) {
  constexpr int kOffset = StoredTile<F>::Rule::kSigned ? 1 << offset_shift(traits(F)) : 0;
  alignas(16) uint8_t values[16];
  for (int i = 0; i < 16; ++i) values[i] = static_cast<uint8_t>(w.table[i] - kOffset);
  return load_table(values);
}

/// dot += the products of groups [kGroup, kEnd); each decoded group serves T tokens, each broadcast P units.
template <typename Tile, int P, int T, int kGroup, int kEnd>
LOWBIT_INLINE void add_groups(const Tile (&tile)[P], const ActivationTile* x, Ints (&dot)[P][T]) {
  decltype(tile[0].template group<kGroup>()) codes[P];
  for (int p = 0; p < P; ++p) codes[p] = tile[p].template group<kGroup>();
  for (int t = 0; t < T; ++t) {
    const auto four = load_four<kGroup>(x[t].codes);
    for (int p = 0; p < P; ++p) dot[p][t] = Tile::Rule::add(dot[p][t], codes[p], four);
  }
  if constexpr (kGroup + 1 < kEnd) add_groups<Tile, P, T, kGroup + 1, kEnd>(tile, x, dot);
}

/// words = or (unless kFirst) += the products of groups [kGroup, kEnd).
template <typename Tile, int P, int T, int kGroup, int kEnd, bool kFirst>
LOWBIT_INLINE void add_products(const Tile (&tile)[P], const ActivationTile* x,
                                typename Tile::Rule::Words (&words)[P][T]) {
  using Rule = typename Tile::Rule;
  Ints codes[P];
  for (int p = 0; p < P; ++p) codes[p] = tile[p].template group<kGroup>();
  for (int t = 0; t < T; ++t) {
    const auto four = load_four<kGroup>(x[t].codes);
    typename Rule::Words products[P];
    for (int p = 0; p < P; ++p) products[p] = Rule::products(codes[p], four);
    for (int p = 0; p < P; ++p) words[p][t] = kFirst ? products[p] : Rule::add_words(words[p][t], products[p]);
  }
  if constexpr (kGroup + 1 < kEnd) add_products<Tile, P, T, kGroup + 1, kEnd, false>(tile, x, words);
}

/// add_groups by way of 16-bit sums.
template <typename Tile, int P, int T, int kGroup, int kEnd>
LOWBIT_INLINE void add_groups_in_words(const Tile (&tile)[P], const ActivationTile* x, Ints (&dot)[P][T]) {
  using Rule = typename Tile::Rule;
  constexpr int kNext = kGroup + Rule::kStep < kEnd ? kGroup + Rule::kStep : kEnd;
  typename Rule::Words words[P][T];
  add_products<Tile, P, T, kGroup, kNext, true>(tile, x, words);
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) dot[p][t] = Rule::add_widened(dot[p][t], words[p][t]);
  }
  if constexpr (kNext < kEnd) add_groups_in_words<Tile, P, T, kNext, kEnd>(tile, x, dot);
}

/// What the dots of a part of a tile start from, but for those of a rule's kSplit.
template <typename Tile, int kPart>
LOWBIT_INLINE Ints start_of(const ActivationTile& x) {
  if constexpr (Tile::kOffset == Offset::k128) return every_int(Tile::kParts == 2 ? x.half_start[kPart] : x.start);
  if constexpr (Tile::kOffset == Offset::k8) return every_int(x.start8);
  if constexpr (Tile::kOffset == Offset::kOther) {  // kDotBits - 2^kOffsetShift * sum, from the same of 2^7
    constexpr int kLess = 7 - Tile::kOffsetShift;
    static_assert(kDotBits % (1 << kLess) == 0);
    return ints_plus(ints_right<kLess>(every_int(Tile::kParts == 2 ? x.half_start[kPart] : x.start)),
                     every_int(kDotBits - (kDotBits >> kLess)));
  }
  return every_int(kDotBits);
}

/// One part (all, or a half with a scale of its own) of a tile: value = or += dot * scale. The first is had from
/// kDotZero + dot in one step: (kDotZero + dot) * scale - kDotZero * scale, where the last product is exact, as a
/// finite scale has at most 18 bits (of an infinite one either is nonsense, but not the same).
template <typename Tile, int P, int T, int kPart>
LOWBIT_INLINE void add_part(const Tile (&tile)[P], const ActivationTile* x, Floats (&value)[P][T]) {
  constexpr int kGroups = 8 / Tile::kParts;
  Ints dot[P][T];
  for (int t = 0; t < T; ++t) {
    if constexpr (Tile::Rule::kSplit) {
      for (int p = 0; p < P; ++p) dot[p][t] = tile[p].start();
    } else {
      const Ints start = start_of<Tile, kPart>(x[t]);
      for (int p = 0; p < P; ++p) dot[p][t] = start;
    }
  }
  if constexpr (Tile::Rule::kInSquares) {
    Tile::Rule::template dots<kPart * kGroups, (kPart + 1) * kGroups>(tile, x, dot);
  } else if constexpr (Tile::Rule::kInWords) {
    add_groups_in_words<Tile, P, T, kPart * kGroups, (kPart + 1) * kGroups>(tile, x, dot);
  } else {
    add_groups<Tile, P, T, kPart * kGroups, (kPart + 1) * kGroups>(tile, x, dot);
  }
  for (int p = 0; p < P; ++p) {
    Floats scale;
    if constexpr (!Tile::kFolded) scale = tile[p].scale(kPart);
    for (int t = 0; t < T; ++t) {
      const Floats dots = as_floats(dot[p][t]);
      if constexpr (Tile::kFolded) {
        value[p][t] = sub(dots, every_float(kDotZero));
        continue;
      }
      value[p][t] =
          kPart == 0 ? fma(dots, scale, tile[p].less()) : fma(sub(dots, every_float(kDotZero)), scale, value[p][t]);
    }
  }
}

/// total += a tile of P units by T tokens; by chunks, without minima.
template <typename Tile, int P, int T>
LOWBIT_INLINE void add_tile(const Tile (&tile)[P], const ActivationTile* x, Floats (&total)[P][T]) {
  static_assert(!Tile::kMinima || Tile::kByChunks || Tile::kParts == 1);
  Floats value[P][T];
  add_part<Tile, P, T, 0>(tile, x, value);
  if constexpr (Tile::kParts == 2) add_part<Tile, P, T, 1>(tile, x, value);
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) {
      if constexpr (Tile::kMinima && !Tile::kByChunks) {
        value[p][t] = fnma(tile[p].minimum(0), every_float(x[t].sum), value[p][t]);
      }
      total[p][t] = fma(value[p][t], every_float(x[t].scale), total[p][t]);
    }
  }
}

/// less += what a tile's minima take off, by chunks.
template <typename Tile, int P, int T>
LOWBIT_INLINE void add_minima(const Tile (&tile)[P], const ActivationTile* x, Floats (&less)[P][T]) {
  for (int s = 0; s < 2; ++s) {
    Floats minimum[P];
    for (int p = 0; p < P; ++p) minimum[p] = tile[p].minimum(s);
    for (int t = 0; t < T; ++t) {
      const Floats sum = every_float(x[t].scaled_half_sum[s]);
      for (int p = 0; p < P; ++p) less[p][t] = fma(minimum[p], sum, less[p][t]);
    }
  }
}

/// Memory is read at full speed by some processors only when it is asked for ahead: hardware gives up at each change of
/// pace between headers and tiles. Long headers are asked for in pieces, one with each tile: a core keeps few misses in
/// the air. Addresses beyond the matrix are ignored.
template <Family F, Prefetch kAhead>
LOWBIT_INLINE void prefetch(const uint8_t* vectors, int tile, int tiles, int header) {
  if constexpr (kAhead.bytes == 0) return;
  constexpr int kLocality = kAhead.cache == 1 ? 3 : 2;  // as the builtin counts them
  constexpr FamilyTraits kTraits = traits(F);
  constexpr bool kInPieces = kTraits.sub_scales == 0;
  const int lines = header / 64;
  const int begin = kInPieces ? lines * tile / kChunkTiles : tile == 0 ? 0 : lines;
  const int end = kInPieces && tile + 1 < tiles ? lines * (tile + 1) / kChunkTiles : lines;
  const uint8_t* at = vectors + kAhead.bytes - header;
  for (int i = begin; i < end; ++i) __builtin_prefetch(at + 64 * i, 0, kLocality);
  for (int i = 0; i < tile_bytes(kTraits) / 64; ++i) __builtin_prefetch(at + 64 * (end + i), 0, kLocality);
}

/// Calls f(the P units of each of N panels from `half` on, index) for tiles [0, tiles) from chunk[n] on, which are
/// asked for ahead.
template <Family F, typename Unit, int N, int P, Prefetch kAhead, typename Function>
LOWBIT_INLINE void for_tiles(const uint8_t* (&chunk)[N], int half, int64_t tiles, int shares, Table table, Function f) {
  constexpr FamilyTraits kTraits = traits(F);
  const int shared = kTraits.sub_scales == 0 ? shares : 0;
  Unit unit[N * P];
  alignas(64) uint8_t joined[N][split_scales(kTraits) ? 2 * kPartScales : 1];
  for (int64_t done = 0; done < tiles; done += kChunkTiles) {
    const int count = tiles - done < kChunkTiles ? static_cast<int>(tiles - done) : kChunkTiles;
    const int header = header_bytes(kTraits, count, shared);
    const uint8_t* scales[N];
    for (int n = 0; n < N; ++n) {
      scales[n] = split_scales(kTraits) ? joined[n] : chunk[n];
      if constexpr (split_scales(kTraits)) join_scales(chunk[n], joined[n]);
    }
    LOWBIT_UNROLL
    for (int u = 0; u < N * P; ++u) unit[u].scales.begin_chunk(chunk[u / P], (half + u % P) * kRows);
    for (int i = 0; i < count; ++i) {
      LOWBIT_UNROLL
      for (int u = 0; u < N * P; ++u) {
        const uint8_t* vectors = chunk[u / P] + header + i * tile_bytes(kTraits);
        if (u % P == 0) prefetch<F, kAhead>(vectors, i, count, header);
        unit[u].vectors = vectors + (half + u % P) * 4 * kRows;
        unit[u].table = table;
        unit[u].scales.read(scales[u / P], count, i, shared, (half + u % P) * kRows);
      }
      f(unit, done + i);
    }
    for (int n = 0; n < N; ++n) chunk[n] += header + count * tile_bytes(kTraits);
  }
}

/// The sums of a chunk of P units by T tokens, where they are scaled by chunks.
template <bool kByChunks, int P, int T>
struct ChunkSums {
  Floats part[P][T], less[P][T];

  LOWBIT_INLINE ChunkSums() {
    for (int p = 0; p < P; ++p) {
      for (int t = 0; t < T; ++t) part[p][t] = less[p][t] = zero_floats();
    }
  }
  /// Adds them to `total` and begins anew; `tile` is one of the chunk.
  template <typename Tile>
  LOWBIT_INLINE void pass_on(const Tile (&tile)[P], Floats (&total)[P][T]) {
    for (int p = 0; p < P; ++p) {
      const Floats d = tile[p].d();
      for (int t = 0; t < T; ++t) {
        total[p][t] = fma(part[p][t], d, total[p][t]);
        if constexpr (Tile::kMinima) total[p][t] = fnma(less[p][t], tile[p].dmin(), total[p][t]);
        part[p][t] = less[p][t] = zero_floats();
      }
    }
  }
};
template <int P, int T>
struct ChunkSums<false, P, T> {};

/// Asks for where the N panels from `panel` on begin.
template <int N>
LOWBIT_INLINE void ask_for_starts(const PackedView& w, int64_t panel) {
  for (int n = 0; n < N; ++n) {
    const uint8_t* data = w.data + static_cast<uint64_t>(panel + n) * w.panel_bytes;
    for (int i = 0; i < kLinesOfNext; ++i) __builtin_prefetch(data + 64 * i);
  }
}

/// N panels by T <= few_tokens() tokens of a group of `width`, all columns.
template <Family F, int N, int T>
void multiply_few(const PackedView& w, int64_t panel, Table table, const ActivationTile* x, int64_t width, float* out,
                  int64_t stride) {
  constexpr int kUnits = N * kHalves;
  Floats total[kUnits][T];
  for (int u = 0; u < kUnits; ++u) {
    for (int t = 0; t < T; ++t) total[u][t] = zero_floats();
  }
  const uint8_t* chunk[N];
  for (int n = 0; n < N; ++n) chunk[n] = w.data + static_cast<uint64_t>(panel + n) * w.panel_bytes;
  using Unit = StoredTile<F>;
  ChunkSums<Unit::kByChunks, kUnits, T> sums;
  for_tiles<F, Unit, N, kHalves, T == 1 ? ahead_of_one(traits(F), N) : kAheadOfFew>(
      chunk, 0, w.cols / kTileCols, w.shared, table, [&](const Unit(&unit)[kUnits], int64_t i) LOWBIT_INLINE_LAMBDA {
        if (T == 1 && N > 1 && i == w.cols / kTileCols - kChunkTiles) ask_for_starts<N>(w, panel + N);
        if constexpr (Unit::kByChunks) {
          add_tile<Unit, kUnits, T>(unit, x + i * width, sums.part);
          if constexpr (Unit::kMinima) add_minima<Unit, kUnits, T>(unit, x + i * width, sums.less);
          if (i % kChunkTiles == kChunkTiles - 1) sums.template pass_on<Unit>(unit, total);
        } else {
          add_tile<Unit, kUnits, T>(unit, x + i * width, total);
        }
      });
  for (int u = 0; u < kUnits; ++u) {
    const int64_t row = panel * kPanelRows + u * kRows;
    for (int t = 0; t < T; ++t) store_rows(out + t * stride + row, total[u][t], w.rows - row);
  }
}

using MultiplyFew = void (*)(const PackedView&, int64_t, Table, const ActivationTile*, int64_t, float*, int64_t);

template <Family F, int N, int T>
MultiplyFew pick_few(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_few<F, N, 1>;
  else
    return tokens == T ? multiply_few<F, N, T> : pick_few<F, N, T - 1>(tokens);
}

}  // namespace
