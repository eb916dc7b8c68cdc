// What groups.h declares, written against the lanes of vec_*.h and included inside the namespace of an instruction set,
// after kGramRows (rows of a tile of products) and kGramVectors (its registers of columns).

namespace {

inline int left(int64_t count, int64_t at) { return count - at < 16 ? static_cast<int>(count - at) : 16; }

/// sums[i, j] for R rows from i and 16 N columns from j on; `width` of the last 16 are there.
template <int R, int N>
inline void add_gram_tile(const float* x, int64_t tokens, int64_t stride, int64_t i, int64_t j, int width,
                          int64_t count, float* sums) {
  Vec sum[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) sum[r][n] = load(sums + (i + r) * count + j + 16 * n, width);
  }
  for (int64_t t = 0; t < tokens; ++t) {
    const float* row = x + t * stride;
    Vec other[N];
    for (int n = 0; n < N; ++n) other[n] = width == 16 ? load(row + j + 16 * n) : load(row + j + 16 * n, width);
    LOWBIT_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec factor = set1(row[i + r]);
      LOWBIT_UNROLL
      for (int n = 0; n < N; ++n) sum[r][n] = fma(factor, other[n], sum[r][n]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) store(sums + (i + r) * count + j + 16 * n, sum[r][n], width);
  }
}

/// Rows [i, i + R), columns up to the diagonal.
template <int R>
inline void add_gram_rows(const float* x, int64_t tokens, int64_t stride, int64_t i, int64_t count, float* sums) {
  int64_t j = 0;
  for (; j + 16 * kGramVectors <= count && j < i + R; j += 16 * kGramVectors) {
    add_gram_tile<R, kGramVectors>(x, tokens, stride, i, j, 16, count, sums);
  }
  for (; j < i + R; j += 16) add_gram_tile<R, 1>(x, tokens, stride, i, j, left(count, j), count, sums);
}

}  // namespace

void round_group(const float* x, int64_t count, const GroupGrid& grid, float* level, float* error) {
  const Vec inverse = set1(grid.scale == 0 ? 0.0f : 1 / grid.scale), scale = set1(grid.scale), zero = set1(grid.zero);
  for (int64_t i = 0; i < count; i += 16) {
    const int n = left(count, i);
    const Vec value = load(x + i, n);
    const Vec code = nearest(min(max(add(mul(value, inverse), zero), set1(0.0f)), set1(grid.top)));
    const Vec from_zero = sub(code, zero);
    store(level + i, from_zero, n);
    store(error + i, fnma(scale, from_zero, value), n);
  }
}

void round_to_table(const float* x, int64_t count, const GroupTable& table, float scale, float* level, float* error) {
  const Vec inverse = set1(scale == 0 ? 0.0f : 1 / scale), scales = set1(scale);
  for (int64_t i = 0; i < count; i += 16) {
    const int n = left(count, i);
    const Vec value = load(x + i, n), scaled = mul(value, inverse);
    Vec nearest_level = set1(table.levels[0]);
    for (int m = 0; m < 15; ++m) {
      nearest_level = select_greater(scaled, set1(table.midpoints[m]), set1(table.levels[m + 1]), nearest_level);
    }
    store(level + i, nearest_level, n);
    store(error + i, sub(value, mul(scales, nearest_level)), n);
  }
}

GroupSums weigh_group(const float* weight, const float* x, const float* level, const float* e, int64_t count) {
  DoubleVec error = zero_double(), lx = zero_double(), ll = zero_double();
  for (int64_t i = 0; i < count; i += 16) {
    const int n = left(count, i);
    const Vec w = load(weight + i, n), l = load(level + i, n), of_error = load(e + i, n), of_level = mul(w, l);
    error = add(error, mul(mul(w, of_error), of_error));
    lx = add(lx, mul(of_level, load(x + i, n)));
    ll = add(ll, mul(of_level, l));
  }
  return {sum(error), sum(lx), sum(ll)};
}

double through_gram(const float* gram, const float* a, const float* b, int64_t count) {
  DoubleVec total = zero_double();
  int64_t j = 0;
  for (; j + 64 <= count; j += 64) {
    Vec product[4] = {set1(0.0f), set1(0.0f), set1(0.0f), set1(0.0f)};
    for (int64_t i = 0; i < count; ++i) {
      const Vec factor = set1(b[i]);
      LOWBIT_UNROLL
      for (int n = 0; n < 4; ++n) product[n] = fma(factor, load(gram + i * count + j + 16 * n), product[n]);
    }
    for (int n = 0; n < 4; ++n) total = add(total, mul(load(a + j + 16 * n), product[n]));
  }
  for (; j < count; j += 16) {
    const int n = left(count, j);
    Vec product = set1(0.0f);
    for (int64_t i = 0; i < count; ++i) product = fma(set1(b[i]), load(gram + i * count + j, n), product);
    total = add(total, mul(load(a + j, n), product));
  }
  return sum(total);
}

void add_gram(const float* x, int64_t tokens, int64_t stride, int64_t count, float* sums) {
  int64_t i = 0;
  for (; i + kGramRows <= count; i += kGramRows) add_gram_rows<kGramRows>(x, tokens, stride, i, count, sums);
  for (; i < count; ++i) add_gram_rows<1>(x, tokens, stride, i, count, sums);
}
