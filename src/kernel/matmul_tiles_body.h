// Many tokens by tile registers (AMX): the dots of 16 rows by up to 16 tokens in one instruction. Included after
// matmul_rows_body.h and the names of tiles_amx.h.
//
// A panel's tile of signed codes is the right-hand side as it lies: row k of it holds columns 4k to 4k + 3 of 16 rows.
// Dots pass from tile registers to vectors through memory, where scales are applied in the order that matmul_ref.cc
// defines. On Sapphire and Emerald Rapids a product holds up the vector units for its 16 cycles, so that this is little
// faster than vectors alone, not 8 times; families with two scales a tile would need two products for half the
// columns each and gain nothing
// (those scaled by chunks would need one: not tried).

namespace {

/// Tokens that lie together: see ActivationView.
constexpr int kTileTokens = 16;
static_assert(kTileTokens == kGroupTokens);
/// Tiles between two visits of the outputs: a group's activations stay in the first cache, together with the dots.
constexpr int kTileBlock = 16;
static_assert(kTileBlock % kChunkTiles == 0);
/// Panels that are decoded at once, for the second cache.
constexpr int kTilePanels = 8;

/// Codes are decoded to signed bytes.
struct SignedCodes {
  static constexpr bool kSigned = true, kFullBytes = false, kInSquares = false, kSplit = false;
};

/// A decoded tile where loads of it do not lie at a multiple of 4096 bytes from stores of dots that are under way,
/// which processors take for the same address until they know better: see TileProducts::step().
template <bool kMinima>
struct alignas(1024) PlacedTile : TileBytes<TileKind{1, kMinima, false, false}> {};

using Dots = int32_t[kTileTokens][kPanelRows];

/// Tiles 0 and 1 hold activations, 2 and 3 codes, the others dots.
inline TileShapes shapes_of(int64_t tokens) {
  TileShapes shapes{};
  shapes.palette = 1;
  for (int i = 0; i < 8; ++i) {
    const bool codes = i == 2 || i == 3;
    shapes.rows[i] = static_cast<uint8_t>(codes ? kTileCols / 4 : tokens);
    shapes.row_bytes[i] = static_cast<uint16_t>(i < 2 ? kTileCols : 4 * kPanelRows);
  }
  return shapes;
}

/// `count` decoded tiles of a panel by T tokens.
template <bool kMinima, int T>
struct TileProducts {
  const PlacedTile<kMinima>* tiles;
  int64_t count;
  const ActivationTile* x;
  Dots* dots;  ///< [4]
  Floats total[T];

  /// The dots of tile i; they stay in a tile register of the step.
  template <int kStep>
  LOWBIT_INLINE void multiply(int64_t i) {
    constexpr int kSide = kStep % 2, kDots = 4 + kStep;
    load_tile<kSide>(x[i * T].codes, sizeof(ActivationTile));
    load_tile<2 + kSide>(tiles[i].codes[0], sizeof tiles[i].codes[0]);
    clear_tile<kDots>();
    add_tile_product<kDots, kSide, 2 + kSide>();
  }

  /// total += tile i, whose dots are known.
  LOWBIT_INLINE void scale(int64_t i, const Dots& known) {
    const Floats factor = load_floats(tiles[i].floats[0]);
    const ActivationTile* of_tile = x + i * T;
    LOWBIT_UNROLL
    for (int t = 0; t < T; ++t) {
      Floats value = mul(to_floats(load_ints(known[t])), factor);
      if constexpr (kMinima) value = fnma(load_floats(tiles[i].floats[1]), every_float(of_tile[t].sum), value);
      total[t] = fma(value, every_float(of_tile[t].scale), total[t]);
    }
  }

  /// Step i of a loop in which tile i + 1 is multiplied while the dots of tile i are stored and those of tile i - 2 are
  /// scaled.
  template <int kStep>
  LOWBIT_INLINE void step(int64_t i) {
    if (i + 1 < count) multiply<(kStep + 1) % 4>(i + 1);
    if (i >= 2 && i - 2 < count) scale(i - 2, dots[(kStep + 2) % 4]);
    if (i < count) store_tile<4 + kStep>(dots[kStep], sizeof dots[kStep][0]);
  }
};

/// `count` decoded tiles of a panel by T tokens, added to out (or put there, if they are the first).
template <bool kMinima, int T>
void multiply_by_tiles(const PlacedTile<kMinima>* tiles, int64_t count, const ActivationTile* x, bool first, float* out,
                       int64_t stride, int64_t rows) {
  alignas(4096) Dots dots[4];
  TileProducts<kMinima, T> products{tiles, count, x, dots, {}};
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) products.total[t] = first ? zero_floats() : load_rows(out + t * stride, rows);
  products.template multiply<0>(0);
  for (int64_t i = 0; i < count + 2; i += 4) {
    products.template step<0>(i);
    products.template step<1>(i + 1);
    products.template step<2>(i + 2);
    products.template step<3>(i + 3);
  }
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) store_rows(out + t * stride, products.total[t], rows);
}

template <bool kMinima>
using MultiplyByTiles = void (*)(const PlacedTile<kMinima>*, int64_t, const ActivationTile*, bool, float*, int64_t,
                                 int64_t);

template <bool kMinima, int T>
MultiplyByTiles<kMinima> pick_by_tiles(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_by_tiles<kMinima, 1>;
  else
    return tokens == T ? multiply_by_tiles<kMinima, T> : pick_by_tiles<kMinima, T - 1>(tokens);
}

template <Family F>
void matmul_tiles(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, Table table, float* out,
                  int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr bool kMinima = kTraits.minima;
  alignas(4096) PlacedTile<kMinima> decoded[kTilePanels][kTileBlock];
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  const int64_t tiles = w.cols / kTileCols;
  int64_t shaped = 0;  // tokens that the tiles' shapes are for
  for (int64_t from = 0; from < tiles; from += kTileBlock) {
    const int64_t count = tiles - from < kTileBlock ? tiles - from : kTileBlock;
    const uint64_t offset = tiles_bytes(kTraits, from, w.shared);
    for (int64_t panel = begin; panel < end; panel += kTilePanels) {
      const int64_t panels = end - panel < kTilePanels ? end - panel : kTilePanels;
      for (int64_t p = 0; p < panels; ++p) {
        const uint8_t* chunk = w.data + static_cast<uint64_t>(panel + p) * w.panel_bytes + offset;
        decode_tiles<F, SignedCodes>(chunk, 0, count, w.shared, table, decoded[p]);
      }
      for (int64_t token = 0; token < x.tokens; token += kTileTokens) {
        const int64_t tokens = x.tokens - token < kTileTokens ? x.tokens - token : kTileTokens;
        if (tokens != shaped) set_shapes(shapes_of(tokens));
        shaped = tokens;
        const auto multiply = pick_by_tiles<kMinima, kTileTokens>(tokens);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t row = (panel + p) * kPanelRows;
          float* to = out + token * stride + row;
          // The outputs of the panel after it: rows that lie a power of 2 apart fall out of near caches.
          if (p + 1 < panels) {
            for (int64_t t = 0; t < tokens; ++t) __builtin_prefetch(to + t * stride + kPanelRows, 1);
          }
          multiply(decoded[p], count, activations + token * tiles + from * tokens, from == 0, to, stride, w.rows - row);
        }
      }
    }
  }
  release_tiles();
}

}  // namespace
