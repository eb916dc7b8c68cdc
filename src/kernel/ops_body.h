// The element-wise operations, written against the lanes of vec_*.h and included by ops_*.cc inside the namespace of an
// instruction set. Sums run in 16 lanes (element i in lane i mod 16), then as a tree.

namespace {

/// e^x to about 1 unit in the last place; 0 below ln(2^-126), infinity above ln(largest), NaN for NaN.
/// x = n ln2 + r, |r| <= ln2/2; the polynomial is minimax for the relative error (4e-9).
inline Vec exp(Vec x) {
  const Vec low = set1(-0x1.5d589ep+6f), high = set1(0x1.62e42ep+6f);
  const Vec n = nearest(mul(min(max(x, low), high), set1(0x1.715476p+0f)));
  Vec r = fnma(n, set1(0x1.62e400p-1f), x);
  r = fnma(n, set1(0x1.7f7d1cp-20f), r);
  Vec q = fma(set1(0x1.6a23cep-10f), r, set1(0x1.123a2p-7f));
  q = fma(q, r, set1(0x1.5558f2p-5f));
  q = fma(q, r, set1(0x1.555492p-3f));
  q = fma(q, r, set1(0x1.fffffcp-2f));
  const Vec y = add(fma(q, mul(r, r), r), set1(1.0f));
  const Vec e = scale_by_power(y, n);
  return select_greater(low, x, set1(0.0f), select_greater(x, high, set1(__builtin_inff()), e));
}

inline int tail(int64_t n, int64_t i) { return n - i < 16 ? static_cast<int>(n - i) : 16; }

}  // namespace

void quantize_row(const float* x, int64_t cols, ActivationTile* out, int64_t stride) {
  for (int64_t c = 0; c < cols; c += kTileCols, out += stride) {
    Vec a[2];
    for (int64_t h = 0; h < 2; ++h) {
      const int64_t at = c + 16 * h;
      a[h] = at + 16 <= cols ? load(x + at) : at < cols ? load(x + at, tail(cols, at)) : set1(0.0f);
    }
    const float most = max_magnitude_lane(max_magnitude(a[0], a[1]));
    const bool zero = most < kLeastActivation;  // a NaN is kept, so that it shows in the result
    const Vec inverse = set1(zero ? 0.0f : 127.0f / most);
    int32_t sums[2];
    for (int h = 0; h < 2; ++h) {
      const Vec code = nearest(mul(a[h], inverse));
      sums[h] = store_int8(out->codes + 16 * h, min(max(code, set1(-127.0f)), set1(127.0f)));
    }
    out->scale = zero ? 0.0f : most / 127.0f;
    set_sums(*out, sums[0], sums[1]);
  }
}

void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out) {
  Vec squares = set1(0.0f);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) squares = fma(load(x + i), load(x + i), squares);
  if (i < n) squares = fma(load(x + i, tail(n, i)), load(x + i, tail(n, i)), squares);
  const float mean = sum(squares) / static_cast<float>(n);
  const Vec scale = set1(1.0f / __builtin_sqrtf(mean + eps));
  for (i = 0; i + 16 <= n; i += 16) store(out + i, mul(mul(load(x + i), scale), load(weight + i)));
  if (i < n) {
    const int rest = tail(n, i);
    store(out + i, mul(mul(load(x + i, rest), scale), load(weight + i, rest)), rest);
  }
}

void rope(float* x, const float* cos, const float* sin, int64_t rotary_dim) {
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; i += 16) {
    const int n = tail(half, i);
    const Vec a = load(x + i, n), b = load(x + half + i, n), c = load(cos + i, n), s = load(sin + i, n);
    store(x + i, fnma(b, s, mul(a, c)), n);
    store(x + half + i, fma(a, s, mul(b, c)), n);
  }
}

void silu_mul(float* gate, const float* up, int64_t n) {
  const Vec one = set1(1.0f), zero = set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const int rest = tail(n, i);
    const Vec g = load(gate + i, rest);
    store(gate + i, mul(div(g, add(one, exp(sub(zero, g)))), load(up + i, rest)), rest);
  }
}

void add_to(float* x, const float* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, add(load(x + i), load(y + i)));
  if (i < n) store(x + i, add(load(x + i, tail(n, i)), load(y + i, tail(n, i))), tail(n, i));
}

void to_f16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; i += 16) store_f16(out + i, load(x + i, tail(n, i)), tail(n, i));
}

void from_f16(const uint16_t* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) store(out + i, load_f16(x + i, tail(n, i)), tail(n, i));
}

double log_sum_exp(const float* x, int64_t n) {
  const Vec lowest = set1(-__builtin_inff());
  Vec most = lowest;
  for (int64_t i = 0; i < n; i += 16) {
    const int rest = tail(n, i);
    most = max(select_first(rest, load(x + i, rest), lowest), most);
  }
  const float top = max_lane(most);
  DoubleVec total = zero_double();
  for (int64_t i = 0; i < n; i += 16) {
    const int rest = tail(n, i);
    const Vec e = exp(sub(load(x + i, rest), set1(top)));
    total = add(total, select_first(rest, e, set1(0.0f)));
  }
  return static_cast<double>(top) + __builtin_log(sum(total));
}
