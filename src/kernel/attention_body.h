// Attention of the query heads that share a key/value head, written against the lanes of vec_*.h and included inside
// the namespace of an instruction set. A row is one query head of one token.
//
// A score is one chain of multiply-adds over head_dim, an output one over positions, and positions are taken in blocks
// and parts on a grid that starts at position 0: so a row's result depends neither on the rows that share the loads of
// keys and values with it, nor on how parts are spread over threads.

namespace {

constexpr int kTileRows = 6;  ///< that share a load of keys or values

/// Registers of 16 positions, or of 16 outputs, that a tile of `rows` rows keeps sums of.
constexpr int registers_for(int rows) {
  return 4 * rows <= kAttentionRegisters ? 4 : 2 * rows <= kAttentionRegisters ? 2 : 1;
}

/// Asks for memory `offset` bytes behind p, which may be beyond its end.
inline void prefetch_at(const void* p, int64_t offset) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(offset);
  __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 2);
}

/// A block of keys and values as they are stored: element i of the keys of 16 positions from p on, elements d to d + 16
/// (or fewer: `width`) of the value of position p. `Scale` is what kKvScaled elements of those keys share.
/// kAhead: bytes of the next block that are asked for at a time, keys and values in turn, 4 dim times while one is
/// scored; 0: none. Few rows wait for memory.
template <typename Element, bool kBrain, int kTheAhead>
struct Plain {
  const Element *keys, *values;
  int64_t dim;
  static constexpr int kAhead = kTheAhead;
  struct Scale {};
  Scale key_scale(int, int) const { return {}; }
  Vec key(int i, int p, Scale) const { return get(keys + i * kKeyBlock + p); }
  Vec value(int p, int d) const { return get(values + p * dim + d); }
  Vec value(int p, int d, int width) const {
    Element some[16] = {};
    for (int i = 0; i < width; ++i) some[i] = values[p * dim + d + i];
    return get(some);
  }
  void ask_ahead(int64_t i) const {
    prefetch_at(i % 2 == 0 ? keys : values, kKeyBlock * dim * int64_t{sizeof(Element)} + i / 2 * kAhead);
  }

 private:
  static Vec get(const float* p) { return load(p); }
  static Vec get(const uint16_t* p) { return kBrain ? load_bf16(p) : load_f16(p); }
};
using Singles = Plain<float, false, 0>;  ///< Q8_0 decoded, for many rows

/// Q8_0, for few rows.
struct Codes {
  const uint8_t *keys, *values;
  const float* value_scales;  ///< [positions][value_scale_row(dim)]
  int64_t dim;
  static constexpr int kAhead = 32 + 2;  // a code and a scale for each two bytes of halves
  using Scale = Vec;
  Vec key_scale(int i, int p) const {
    return load_f16(reinterpret_cast<const uint16_t*>(keys + kKeyBlock * dim) + i / kKvScaled * kKeyBlock + p);
  }
  Vec key(int i, int p, Vec scale) const { return mul(load_int8(keys + i * kKeyBlock + p), scale); }
  Vec value(int p, int d) const {
    return mul(load_int8(values + p * value_bytes(KvType::Q8_0, dim) + d),
               set1(value_scales[p * value_scale_row(dim) + d / kKvScaled]));
  }
  Vec value(int p, int d, int) const { return value(p, d); }
  void ask_ahead(int64_t i) const {
    const int64_t block = key_block_bytes(KvType::Q8_0, dim);  // as many bytes as its values
    prefetch_at(i % 2 == 0 ? keys : values, block + i / 2 * kAhead);
  }
};

struct AttentionRow {
  const float* q;
  float* out;  ///< not yet divided by the total
  int64_t first, last;
  float most;
  Vec total;
};

/// weights[R][16 n] = scores of a tile of R rows with 16 n positions of a block of keys.
template <typename Source, int R, int N>
inline __attribute__((always_inline)) void score(const AttentionArgs& a, const AttentionRow* rows, const Source& source,
                                                 float (*weights)[kKeyBlock], int at) {
  Vec dot[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) dot[r][n] = set1(0.0f);
  }
  for (int scaled = 0; scaled < a.head_dim; scaled += kKvScaled) {
    typename Source::Scale scale[N];
    for (int n = 0; n < N; ++n) scale[n] = source.key_scale(scaled, at + 16 * n);
    const int end = scaled + kKvScaled < a.head_dim ? scaled + kKvScaled : a.head_dim;
    for (int i = scaled; i < end; ++i) {
      Vec key[N];
      for (int n = 0; n < N; ++n) key[n] = source.key(i, at + 16 * n, scale[n]);
      if constexpr (Source::kAhead > 0) {
        for (int n = 0; n < N; ++n) source.ask_ahead(at / 16 * a.head_dim + i * N + n);
      }
      for (int r = 0; r < R; ++r) {
        const Vec q = set1(rows[r].q[i]);
        for (int n = 0; n < N; ++n) dot[r][n] = fma(q, key[n], dot[r][n]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) store(weights[r] + at + 16 * n, mul(dot[r][n], set1(a.scale)));
  }
}

/// out[d, d + width) of R rows += weights times values of positions [begin, end) of a block.
template <typename Source, int R, int N>
inline __attribute__((always_inline)) void add_values_at(AttentionRow* rows, const float (*weights)[kKeyBlock],
                                                         const Source& source, int begin, int end, int d, int width) {
  Vec sums[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) sums[r][n] = load(rows[r].out + d + 16 * n, width);
  }
  for (int p = begin; p < end; ++p) {
    Vec value[N];
    for (int n = 0; n < N; ++n)
      value[n] = width == 16 ? source.value(p, d + 16 * n) : source.value(p, d + 16 * n, width);
    for (int r = 0; r < R; ++r) {
      const Vec weight = set1(weights[r][p]);
      for (int n = 0; n < N; ++n) sums[r][n] = fma(weight, value[n], sums[r][n]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) store(rows[r].out + d + 16 * n, sums[r][n], width);
  }
}

template <typename Source, int R>
void add_values(const AttentionArgs& a, AttentionRow* rows, const float (*weights)[kKeyBlock], const Source& source,
                int begin, int end) {
  constexpr int N = registers_for(R);
  int d = 0;
  for (; d + 16 * N <= a.head_dim; d += 16 * N) add_values_at<Source, R, N>(rows, weights, source, begin, end, d, 16);
  for (; d < a.head_dim; d += 16) {
    add_values_at<Source, R, 1>(rows, weights, source, begin, end, d, a.head_dim - d < 16 ? a.head_dim - d : 16);
  }
}

/// Scores of positions [begin, end) of a block to their exponentials, the others to 0; the row so far is rescaled.
inline void soften(const AttentionArgs& a, AttentionRow& row, float* weights, int begin, int end) {
  for (int i = 0; i < begin; ++i) weights[i] = -__builtin_inff();
  for (int i = end; i < kKeyBlock; ++i) weights[i] = -__builtin_inff();
  Vec largest = set1(row.most);
  for (int i = 0; i < kKeyBlock; i += 16) largest = max(load(weights + i), largest);
  const float most = max_lane(largest);
  if (most > row.most) {
    const Vec rescale = exp(set1(row.most - most));
    row.total = mul(row.total, rescale);
    for (int d = 0; d < a.head_dim; d += 16) {
      const int width = a.head_dim - d < 16 ? a.head_dim - d : 16;
      store(row.out + d, mul(load(row.out + d, width), rescale), width);
    }
    row.most = most;
  }
  for (int i = 0; i < kKeyBlock; i += 16) {
    const Vec e = exp(sub(load(weights + i), set1(most)));
    row.total = add(row.total, e);
    store(weights + i, e);
  }
}

/// R rows over the block of positions that starts at `block`.
template <typename Source, int R>
void attend_tile(const AttentionArgs& a, AttentionRow* rows, int64_t block, const Source& source) {
  int begin[R], end[R], common_begin = 0, common_end = kKeyBlock, reach = 0;
  for (int r = 0; r < R; ++r) {
    const int64_t from = rows[r].first - block, to = rows[r].last + 1 - block;
    begin[r] = from < 0 ? 0 : from > kKeyBlock ? kKeyBlock : static_cast<int>(from);
    end[r] = to > kKeyBlock ? kKeyBlock : to < begin[r] ? begin[r] : static_cast<int>(to);
    common_begin = begin[r] > common_begin ? begin[r] : common_begin;
    common_end = end[r] < common_end ? end[r] : common_end;
    if (begin[r] < end[r] && end[r] > reach) reach = end[r];
  }
  if (reach == 0) return;
  alignas(64) float weights[R][kKeyBlock];
  constexpr int N = registers_for(R);
  for (int at = 0; at < reach; at += 16 * N) score<Source, R, N>(a, rows, source, weights, at);
  for (int r = 0; r < R; ++r) {
    if (begin[r] < end[r]) soften(a, rows[r], weights[r], begin[r], end[r]);
  }
  // What only some rows attend to must not enter the others' sums, not even by a weight of 0: it may be infinite.
  const bool together = common_begin < common_end;
  for (int r = 0; r < R; ++r) {
    add_values<Source, 1>(a, rows + r, weights + r, source, begin[r], together ? common_begin : end[r]);
  }
  if (!together) return;
  add_values<Source, R>(a, rows, weights, source, common_begin, common_end);
  for (int r = 0; r < R; ++r) add_values<Source, 1>(a, rows + r, weights + r, source, common_end, end[r]);
}

template <typename Source, int R>
void attend_tiles(const AttentionArgs& a, AttentionRow* rows, int count, int64_t block, const Source& source) {
  for (; count >= R; count -= R, rows += R) attend_tile<Source, R>(a, rows, block, source);
  if constexpr (R > 1) {
    if (count > 0) attend_tiles<Source, R - 1>(a, rows, count, block, source);
  }
}

/// The scales of a Q8_0 block of values in binary32: [positions][value_scale_row(head_dim)].
inline void decode_value_scales(const AttentionArgs& a, const uint8_t* values, int positions, float* out) {
  const int count = static_cast<int>(a.head_dim / kKvScaled);
  for (int p = 0; p < positions; ++p, values += value_bytes(KvType::Q8_0, a.head_dim)) {
    const auto* scales = reinterpret_cast<const uint16_t*>(values + a.head_dim);
    for (int s = 0; s < count; s += 16, out += 16) {
      store(out, load_f16(scales + s, count - s < 16 ? count - s : 16));
    }
  }
}

/// A Q8_0 block of keys [head_dim][kKeyBlock] and of values [kKeyBlock][head_dim] in binary32.
inline void decode_block(const AttentionArgs& a, const Codes& codes, int positions, float* keys, float* values) {
  for (int i = 0; i < a.head_dim; ++i) {
    for (int p = 0; p < kKeyBlock; p += 16) store(keys + i * kKeyBlock + p, codes.key(i, p, codes.key_scale(i, p)));
  }
  for (int p = 0; p < positions; ++p) {
    for (int d = 0; d < a.head_dim; d += 16) store(values + p * a.head_dim + d, codes.value(p, d));
  }
}

template <bool kBrain>
void attend_halves(const AttentionArgs& a, AttentionRow* rows, int count, int64_t block, const uint8_t* keys,
                   const uint8_t* values) {
  const auto* key_halves = reinterpret_cast<const uint16_t*>(keys);
  const auto* value_halves = reinterpret_cast<const uint16_t*>(values);
  if (count <= kTileRows) {
    const Plain<uint16_t, kBrain, 64> few{key_halves, value_halves, a.head_dim};
    return attend_tiles<decltype(few), kTileRows>(a, rows, count, block, few);
  }
  const Plain<uint16_t, kBrain, 0> many{key_halves, value_halves, a.head_dim};
  attend_tiles<decltype(many), kTileRows>(a, rows, count, block, many);
}

/// All rows over the block of positions that starts at `block`, of which `positions` are attended to by any.
inline void attend_block(const AttentionArgs& a, AttentionRow* rows, int count, int64_t block, int positions) {
  const uint8_t* keys = a.k + block / kKeyBlock * key_block_bytes(a.type, a.head_dim);
  const uint8_t* values = a.v + block * value_bytes(a.type, a.head_dim);
  if (a.type == KvType::Q8_0) {
    float* scales = a.room + 2 * kKeyBlock * a.head_dim;
    decode_value_scales(a, values, positions, scales);
    const Codes codes{keys, values, scales, a.head_dim};
    // Decoding for each tile of rows costs more than passing what is decoded through memory once.
    if (count <= kTileRows) return attend_tiles<Codes, kTileRows>(a, rows, count, block, codes);
    float* decoded_values = a.room + kKeyBlock * a.head_dim;
    decode_block(a, codes, positions, a.room, decoded_values);
    return attend_tiles<Singles, kTileRows>(a, rows, count, block, {a.room, decoded_values, a.head_dim});
  }
  if (a.type == KvType::BF16) return attend_halves<true>(a, rows, count, block, keys, values);
  attend_halves<false>(a, rows, count, block, keys, values);
}

inline int64_t first_position(const AttentionArgs& a, int64_t token) {
  const int64_t first = a.position + token - a.window + 1;
  return a.window > 0 && first > 0 ? first : 0;
}

}  // namespace

void attention_part(const AttentionArgs& a, int64_t part, float* out) {
  const int64_t stride = attention_record(a.head_dim), count = a.tokens * a.heads;
  for (int64_t row = 0; row < count; row += kAttentionRows) {
    const int n = count - row < kAttentionRows ? static_cast<int>(count - row) : kAttentionRows;
    AttentionRow rows[kAttentionRows];
    for (int r = 0; r < n; ++r) {
      const int64_t token = (row + r) / a.heads, head = (row + r) % a.heads;
      float* record = out + (row + r) * stride;
      for (int i = 0; i < a.head_dim; ++i) record[i] = 0.0f;
      rows[r] = {a.q + token * a.stride + head * a.head_dim,
                 record,
                 first_position(a, token),
                 a.position + token,
                 -__builtin_inff(),
                 set1(0.0f)};
    }
    const int64_t begin = part * kAttentionPart, end = begin + kAttentionPart;
    const int64_t first = rows[0].first > begin ? rows[0].first / kKeyBlock * kKeyBlock : begin;
    const int64_t last = rows[n - 1].last + 1 < end ? rows[n - 1].last + 1 : end;
    for (int64_t block = first; block < last; block += kKeyBlock) {
      attend_block(a, rows, n, block, last - block < kKeyBlock ? static_cast<int>(last - block) : kKeyBlock);
    }
    for (int r = 0; r < n; ++r) {
      store(rows[r].out + stride - 32, rows[r].total);
      rows[r].out[stride - 16] = rows[r].most;
    }
  }
}

void attention_join(const AttentionArgs& a, const float* parts, int64_t first_part, int64_t part_stride) {
  const int64_t record = attention_record(a.head_dim);
  for (int64_t row = 0; row < a.tokens * a.heads; ++row, parts += record) {
    const int64_t token = row / a.heads;
    float* out = a.out + token * a.stride + row % a.heads * a.head_dim;
    const int64_t begin = first_position(a, token) / kAttentionPart, end = (a.position + token) / kAttentionPart + 1;
    const float* from = parts + (begin - first_part) * part_stride;
    float most = from[record - 16];
    Vec total = load(from + record - 32);
    for (int d = 0; d < a.head_dim; ++d) out[d] = from[d];
    for (int64_t part = begin + 1; part < end; ++part) {
      from += part_stride;
      const float next = from[record - 16], top = next > most ? next : most;
      const Vec before = exp(set1(most - top)), after = exp(set1(next - top));
      total = fma(load(from + record - 32), after, mul(total, before));
      for (int d = 0; d < a.head_dim; d += 16) {
        const int width = a.head_dim - d < 16 ? a.head_dim - d : 16;
        store(out + d, fma(load(from + d, width), after, mul(load(out + d, width), before)), width);
      }
      most = top;
    }
    const Vec whole = set1(sum(total));
    for (int d = 0; d < a.head_dim; d += 16) {
      const int width = a.head_dim - d < 16 ? a.head_dim - d : 16;
      store(out + d, div(load(out + d, width), whole), width);
    }
  }
}
