// Many tokens by tile registers (AMX): the dots of 16 rows by up to 16 tokens in one instruction. Included after
// codes_avx512.h, matmul_codes_body.h and the names of tiles_amx.h.
//
// A panel's tile of signed codes is the right-hand side as it lies: row k of it holds columns 4k to 4k + 3 of 16 rows.
// Dots pass from tile registers to vectors through memory, where scales are applied in the order that matmul_ref.cc
// defines. That is more work for the vector units than the products are for the tiles, so products run a batch ahead.

namespace {

/// Tokens that lie together: see ActivationView.
constexpr int kGroupTokens = 16;
/// Tiles between two visits of the outputs: a group's activations stay in the first cache, together with the dots.
constexpr int kBlockTiles = 16;
static_assert(kBlockTiles % kChunkTiles == 0);
/// Panels that are decoded at once, for the second cache.
constexpr int kManyPanels = 8;
/// Codes are decoded to signed bytes.
struct SignedCodes {
  static constexpr bool kSigned = true, kInSquares = false;
};

/// A decoded tile where loads of it do not lie at a multiple of 4096 bytes from stores of dots that are under way, which
/// processors take for the same address until they know better: see Products::step().
template <int kParts, bool kMinima>
struct alignas(1024) PlacedTile : TileBytes<kParts, kMinima> {};

using Dots = int32_t[kGroupTokens][kPanelRows];

/// Tiles 0 and 1 hold activations, 2 and 3 codes, the others dots.
inline TileShapes shapes_of(int parts, int tokens) {
  TileShapes shapes{};
  shapes.palette = 1;
  for (int i = 0; i < 8; ++i) {
    const bool codes = i == 2 || i == 3;
    shapes.rows[i] = static_cast<uint8_t>(codes ? 8 / parts : tokens);
    shapes.row_bytes[i] = static_cast<uint16_t>(i < 2 ? kTileCols / parts : 64);
  }
  return shapes;
}

/// Multiplies the parts of a tile; the dots stay in tile registers of the step.
template <int kParts, bool kMinima, int kStep, int kPart = 0>
LOWBIT_INLINE void multiply_tile(const TileBytes<kParts, kMinima>& tile, const ActivationTile* x) {
  constexpr int kProduct = kStep * kParts + kPart, kSide = kProduct % 2, kDots = 4 + kProduct % 4;
  load_tile<kSide>(x->codes + kPart * (kTileCols / kParts), sizeof(ActivationTile));
  load_tile<2 + kSide>(tile.codes[kPart * (8 / kParts)], 64);
  clear_tile<kDots>();
  add_tile_product<kDots, kSide, 2 + kSide>();
  if constexpr (kPart + 1 < kParts) multiply_tile<kParts, kMinima, kStep, kPart + 1>(tile, x);
}

template <int kParts, int kStep, int kPart = 0>
LOWBIT_INLINE void store_dots(Dots* dots) {
  store_tile<4 + (kStep * kParts + kPart) % 4>(dots[kPart], sizeof dots[kPart][0]);
  if constexpr (kPart + 1 < kParts) store_dots<kParts, kStep, kPart + 1>(dots);
}

/// total += a tile whose dots are known.
template <int kParts, bool kMinima, int T>
LOWBIT_INLINE void add_dots(const TileBytes<kParts, kMinima>& tile, const Dots* dots, const ActivationTile* x,
                            Floats (&total)[T]) {
  Floats scale[kParts], minimum[kParts];
  LOWBIT_UNROLL
  for (int s = 0; s < kParts; ++s) {
    scale[s] = load_floats(tile.floats[s]);
    if constexpr (kMinima) minimum[s] = load_floats(tile.floats[kParts + s]);
  }
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) {
    Floats value = mul(to_floats(load_ints(dots[0][t])), scale[0]);
    if constexpr (kParts == 2) value = fma(to_floats(load_ints(dots[1][t])), scale[1], value);
    if constexpr (kMinima) {
      const float* sums = kParts == 2 ? x[t].half_sum : &x[t].sum;
      LOWBIT_UNROLL
      for (int s = 0; s < kParts; ++s) value = fnma(minimum[s], every_float(sums[s]), value);
    }
    total[t] = fma(value, every_float(x[t].scale), total[t]);
  }
}

/// `count` decoded tiles of a panel by T tokens, added to out (or put there, if they are the first).
template <int kParts, bool kMinima, int T>
struct Products {
  const PlacedTile<kParts, kMinima>* tiles;
  int64_t count;
  const ActivationTile* x;
  Dots (*dots)[kParts];
  Floats total[T];

  /// Step i of a loop in which tile i + 1 is multiplied while the dots of tile i are stored and those of tile i - 2 are
  /// scaled.
  template <int kStep>
  LOWBIT_INLINE void step(int64_t i) {
    if (i + 1 < count) multiply_tile<kParts, kMinima, (kStep + 1) % 4>(tiles[i + 1], x + (i + 1) * T);
    if (i >= 2 && i - 2 < count) {
      add_dots<kParts, kMinima, T>(tiles[i - 2], dots[(kStep + 2) % 4], x + (i - 2) * T, total);
    }
    if (i < count) store_dots<kParts, kStep>(dots[kStep]);
  }
};

template <int kParts, bool kMinima, int T>
void multiply_decoded(const PlacedTile<kParts, kMinima>* tiles, int64_t count, const ActivationTile* x, bool first,
                      float* out, int64_t stride, int64_t rows) {
  alignas(4096) Dots dots[4][kParts];
  Products<kParts, kMinima, T> products{tiles, count, x, dots, {}};
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) products.total[t] = first ? zero_floats() : load_rows(out + t * stride, rows);
  multiply_tile<kParts, kMinima, 0>(tiles[0], x);
  for (int64_t i = 0; i < count + 2; i += 4) {
    products.template step<0>(i);
    products.template step<1>(i + 1);
    products.template step<2>(i + 2);
    products.template step<3>(i + 3);
  }
  LOWBIT_UNROLL
  for (int t = 0; t < T; ++t) store_rows(out + t * stride, products.total[t], rows);
}

template <int kParts, bool kMinima>
using MultiplyDecoded = void (*)(const PlacedTile<kParts, kMinima>*, int64_t, const ActivationTile*, bool, float*,
                                 int64_t, int64_t);

template <int kParts, bool kMinima, int T>
MultiplyDecoded<kParts, kMinima> pick_decoded(int64_t tokens) {
  if constexpr (T == 1)
    return multiply_decoded<kParts, kMinima, 1>;
  else
    return tokens == T ? multiply_decoded<kParts, kMinima, T> : pick_decoded<kParts, kMinima, T - 1>(tokens);
}

template <Family F>
void matmul_many(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, Table table, float* out,
                 int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr int kParts = StoredTile<F>::kParts;
  constexpr bool kMinima = kTraits.minima;
  alignas(4096) PlacedTile<kParts, kMinima> decoded[kManyPanels][kBlockTiles];
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  const int64_t tiles = w.cols / kTileCols;
  int64_t shaped = 0;  // tokens that the tiles' shapes are for
  for (int64_t from = 0; from < tiles; from += kBlockTiles) {
    const int64_t count = tiles - from < kBlockTiles ? tiles - from : kBlockTiles;
    const uint64_t offset = static_cast<uint64_t>(from / kChunkTiles * chunk_bytes(kTraits, kChunkTiles));
    for (int64_t panel = begin; panel < end; panel += kManyPanels) {
      const int64_t panels = end - panel < kManyPanels ? end - panel : kManyPanels;
      for (int64_t p = 0; p < panels; ++p) {
        const uint8_t* chunk = w.data + static_cast<uint64_t>(panel + p) * w.panel_bytes + offset;
        decode_tiles<F, SignedCodes>(chunk, 0, count, table, decoded[p]);
      }
      for (int64_t token = 0; token < x.tokens; token += kGroupTokens) {
        const int64_t tokens = x.tokens - token < kGroupTokens ? x.tokens - token : kGroupTokens;
        if (tokens != shaped) set_shapes(shapes_of(kParts, static_cast<int>(tokens)));
        shaped = tokens;
        const auto multiply = pick_decoded<kParts, kMinima, kGroupTokens>(tokens);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t row = (panel + p) * kPanelRows;
          multiply(decoded[p], count, activations + token * tiles + from * tokens, from == 0, out + token * stride + row,
                   stride, w.rows - row);
        }
      }
    }
  }
  release_tiles();
}

}  // namespace
