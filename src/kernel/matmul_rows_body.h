// Many tokens by registers of rows; included after matmul_decode_body.h.

namespace {

static_assert(kManyUnits == 2);  // what is left over is one
/// Tokens up to which waiting for weights matters.
constexpr int64_t kWaitingTokens = 64;
/// Units that are decoded at once.
constexpr int kBlockUnits = 4 * kManyUnits;

template <TileKind kKind, Offset kTheOffset, int kTheOffsetShift, typename TheRule>
struct DecodedTile {
  static constexpr int kParts = kKind.parts, kOffsetShift = kTheOffsetShift;
  static constexpr bool kMinima = kKind.minima, kByChunks = kKind.by_chunks, kFolded = kKind.folded;
  static constexpr Offset kOffset = kTheOffset;
  using Rule = TheRule;
  using Bytes = TileBytes<kKind, Rule::kSplit>;
  /// Tiles between two visits of the outputs: what the units decode to stays in the second cache, beside activations
  /// that stream by. With signs apart fewer did best, if by little.
  static constexpr int kBlock = (Rule::kSplit ? 8 : 32) * kPanelRows / kRows;
  static_assert(kBlock % kChunkTiles == 0);
  static_assert(!Rule::kSplit || kParts == 1);  // start() is of a whole tile
  using Block = Bytes[kBlock];
  const Bytes* bytes;

  template <int kGroup>
  LOWBIT_INLINE auto group() const {
    const Ints codes = load_bytes(bytes->codes[kGroup]);
    if constexpr (Rule::kSplit) {
      return typename Rule::Codes{codes, load_bytes(bytes->signs[kGroup])};
    } else {
      return codes;
    }
  }
  LOWBIT_INLINE Ints start() const { return load_bytes(bytes->start); }  ///< where signs are apart
  LOWBIT_INLINE Floats scale(int part) const { return load_floats(bytes->floats[part]); }
  LOWBIT_INLINE Floats minimum(int part) const { return load_floats(bytes->floats[kKind.minimum_at() + part]); }
  LOWBIT_INLINE Floats less() const { return load_floats(bytes->floats[kKind.less_at()]); }
  LOWBIT_INLINE Floats d() const { return load_floats(bytes->floats[kKind.d_at()]); }
  LOWBIT_INLINE Floats dmin() const { return load_floats(bytes->floats[kKind.d_at() + 1]); }
};

/// Panels that kManyUnits units belong to; parts of a panel that they are.
constexpr int kManyPanels = kManyUnits > kHalves ? kManyUnits / kHalves : 1;
constexpr int kManyParts = kHalves > kManyUnits ? kHalves / kManyUnits : 1;

/// Stored weights of the next block that are asked for, into the second cache, while tokens go through decoded ones:
/// few tokens take about as long to multiply as weights to arrive, and decoding would wait for them.
struct Ahead {
  const uint8_t* at;  ///< of the first of kManyPanels panels
  int64_t stride;     ///< from panel to panel
  int64_t lines;      ///< of each, over all steps
  int64_t due = 0;

  /// One of `steps` steps.
  LOWBIT_INLINE void step(int64_t steps) {
    for (due += lines; due >= steps; due -= steps, at += 64) {
      for (int p = 0; p < kManyPanels; ++p) __builtin_prefetch(at + p * stride, 0, 2);
    }
  }
  /// Of the same lines the part that one of `parts` runs of steps asks for.
  LOWBIT_INLINE Ahead part(int64_t i, int64_t parts) const {
    const int64_t begin = lines * i / parts;
    return {at + 64 * begin, stride, lines * (i + 1) / parts - begin};
  }
};

/// Total += a chunk of decoded tiles; minima have a round of their own, for want of registers.
template <typename Tile, int P, int T>
LOWBIT_INLINE void add_decoded_chunk(const typename Tile::Block* tiles, int64_t from, int64_t count,
                                     const ActivationTile* x, int64_t width, Floats (&total)[P][T], Ahead& ahead) {
  Tile tile[P];
  ChunkSums<true, P, T> sums;
  for (int64_t i = 0; i < kChunkTiles; ++i) {
    ahead.step(count);
    for (int p = 0; p < P; ++p) tile[p].bytes = &tiles[p][from + i];
    add_tile<Tile, P, T>(tile, x + i * width, sums.part);
  }
  for (int64_t i = 0; i < kChunkTiles && Tile::kMinima; ++i) {
    for (int p = 0; p < P; ++p) tile[p].bytes = &tiles[p][from + i];
    if constexpr (Tile::kMinima) add_minima<Tile, P, T>(tile, x + i * width, sums.less);
  }
  sums.template pass_on<Tile>(tile, total);
}

/// `count` decoded tiles of P units by T tokens of a group of `width`, added to out (or put there, if they are the
/// first).
template <typename Tile, int P, int T>
void multiply_decoded(const typename Tile::Block* tiles, int64_t count, const ActivationTile* x, int64_t width,
                      bool first, float* out, int64_t stride, int64_t rows, Ahead ahead) {
  Floats total[P][T];
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) {
      total[p][t] = first ? zero_floats() : load_rows(out + t * stride + p * kRows, rows - p * kRows);
    }
  }
  if constexpr (Tile::kByChunks) {
    for (int64_t i = 0; i < count; i += kChunkTiles, x += kChunkTiles * width) {
      add_decoded_chunk<Tile, P, T>(tiles, i, count, x, width, total, ahead);
    }
  } else {
    Tile tile[P];
    for (int64_t i = 0; i < count; ++i, x += width) {
      ahead.step(count);
      for (int p = 0; p < P; ++p) tile[p].bytes = &tiles[p][i];
      add_tile<Tile, P, T>(tile, x, total);
    }
  }
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) store_rows(out + t * stride + p * kRows, total[p][t], rows - p * kRows);
  }
}

template <typename Tile>
using MultiplyDecoded = void (*)(const typename Tile::Block*, int64_t, const ActivationTile*, int64_t, bool, float*,
                                 int64_t, int64_t, Ahead);

template <typename Tile, int P, int T>
MultiplyDecoded<Tile> pick_decoded(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_decoded<Tile, P, 1>;
  else if (tokens == T)
    return multiply_decoded<Tile, P, T>;
  else
    return pick_decoded<Tile, P, T - 1>(tokens);
}

/// Tokens lie in groups of kGroup: see ActivationView.
template <Family F, int kGroup>
void matmul_rows(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, Table table, float* out,
                 int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  using Rule = DecodedRule<kTraits.bits, kTraits.table>;
  constexpr int kOffsetShift = Rule::kFullBytes ? 7 : offset_shift(kTraits);
  using Decoded =
      DecodedTile<kind_of<DecodedFrom<F, Rule> >(), offset_of<Rule>(kTraits, kOffsetShift), kOffsetShift, Rule>;
  typename Decoded::Block decoded[kBlockUnits];
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  const int64_t tiles = w.cols / kTileCols, panel_bytes = static_cast<int64_t>(w.panel_bytes);
  for (int64_t from = 0; from < tiles; from += Decoded::kBlock) {
    const int64_t count = tiles - from < Decoded::kBlock ? tiles - from : Decoded::kBlock;
    const uint64_t offset = tiles_bytes(kTraits, from, w.shared);
    const int64_t lines = static_cast<int64_t>(tiles_bytes(kTraits, count, w.shared) / 64);
    for (int64_t unit = begin * kHalves; unit < end * kHalves; unit += kBlockUnits) {
      const int64_t units = end * kHalves - unit < kBlockUnits ? end * kHalves - unit : kBlockUnits;
      for (int64_t u = 0; u < units; ++u) {
        const uint8_t* panel = w.data + static_cast<uint64_t>((unit + u) / kHalves) * w.panel_bytes;
        decode_tiles<F, Rule>(panel + offset, static_cast<int>((unit + u) % kHalves), count, w.shared, table,
                              decoded[u]);
      }
      const bool more = unit + kBlockUnits < end * kHalves && x.tokens <= kWaitingTokens;
      const int64_t visits = kManyParts * ((x.tokens + kTokens - 1) / kTokens);  // of a panel's units
      for (int64_t token = 0, tokens = 0, visit = 0; token < x.tokens; token += tokens, visit += kManyParts) {
        const int64_t group = token / kGroup * kGroup, left = x.tokens - group;
        const int64_t width = left < kGroup ? left : kGroup, rest = group + width - token;
        tokens = rest < kTokens ? rest : kTokens;
        const ActivationTile* of_group = activations + group * tiles + from * width + (token - group);
        const auto two = pick_decoded<Decoded, kManyUnits, kTokens>(tokens);
        const auto one = pick_decoded<Decoded, 1, kTokens>(tokens);
        for (int64_t u = 0; u < units; u += kManyUnits) {
          const int64_t row = (unit + u) * kRows;
          const auto multiply = u + kManyUnits <= units ? two : one;
          const Ahead next{w.data + (unit + kBlockUnits + u) / kHalves * panel_bytes + offset, panel_bytes,
                           more ? lines : 0};
          multiply(decoded + u, count, of_group, width, from == 0, out + token * stride + row, stride, w.rows - row,
                   next.part(visit + u % kHalves / kManyUnits, visits));
        }
      }
    }
  }
}

}  // namespace
