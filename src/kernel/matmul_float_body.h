// Products with F32, F16 and BF16 weights, written against the lanes of vec_*.h and included inside the namespace of an
// instruction set, after kFloatTokens (tokens a group), kFloatPanels (panels at once) and kSingleTokenPanels.
//
// An output is one chain of fused multiply-adds over ascending columns, whatever the blocking.

namespace {

/// Columns between two visits of the outputs: a group's activations of so many columns stay in the nearest cache.
constexpr int64_t kFloatBlock = 512;

template <Family F>
inline Vec weights_at(const uint8_t* panel, int64_t column) {
  const int64_t at = column * kPanelRows;
  if constexpr (F == Family::F32) return load(reinterpret_cast<const float*>(panel) + at);
  if constexpr (F == Family::F16) return load_f16(reinterpret_cast<const uint16_t*>(panel) + at);
  return load_bf16(reinterpret_cast<const uint16_t*>(panel) + at);
}

/// T tokens by P panels: columns [from, to) of x ([column][T]) are added to out.
template <Family F, int T, int P>
void float_tile(const PackedView& w, int64_t panel, int64_t from, int64_t to, const float* x, float* out,
                int64_t stride) {
  const uint8_t* data[P];
  int rows[P];
  Vec total[P][T];
  for (int p = 0; p < P; ++p) {
    data[p] = w.data + static_cast<uint64_t>(panel + p) * w.panel_bytes;
    const int64_t left = w.rows - (panel + p) * kPanelRows;
    rows[p] = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
    for (int t = 0; t < T; ++t) {
      total[p][t] = from == 0 ? set1(0.0f) : load(out + t * stride + (panel + p) * kPanelRows, rows[p]);
    }
  }
  for (int64_t c = from; c < to; ++c) {
    Vec weight[P];
    for (int p = 0; p < P; ++p) weight[p] = weights_at<F>(data[p], c);
    for (int t = 0; t < T; ++t) {
      const Vec activation = set1(x[c * T + t]);
      for (int p = 0; p < P; ++p) total[p][t] = fma(weight[p], activation, total[p][t]);
    }
  }
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) store(out + t * stride + (panel + p) * kPanelRows, total[p][t], rows[p]);
  }
}

template <Family F, int T>
void float_panels(const PackedView& w, int64_t begin, int64_t end, int64_t from, int64_t to, const float* x, float* out,
                  int64_t stride) {
  constexpr int P = T == 1 ? kSingleTokenPanels : kFloatPanels;
  int64_t panel = begin;
  for (; panel + P <= end; panel += P) float_tile<F, T, P>(w, panel, from, to, x, out, stride);
  if constexpr (P >= 4) {  // two chains at least: one alone would wait for its own additions
    for (; panel + 2 <= end; panel += 2) float_tile<F, T, 2>(w, panel, from, to, x, out, stride);
  }
  for (; panel < end; ++panel) float_tile<F, T, 1>(w, panel, from, to, x, out, stride);
}

using FloatPanels = void (*)(const PackedView&, int64_t, int64_t, int64_t, int64_t, const float*, float*, int64_t);

template <Family F, int T>
FloatPanels pick_float_panels(int tokens) {
  if constexpr (T == 1)
    return float_panels<F, 1>;
  else
    return tokens == T ? float_panels<F, T> : pick_float_panels<F, T - 1>(tokens);
}

template <Family F>
void matmul_floats_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                      int64_t stride) {
  const auto* data = static_cast<const float*>(x.data);
  const int64_t block = x.tokens == 1 ? x.cols : kFloatBlock;
  for (int64_t from = 0; from < x.cols; from += block) {
    const int64_t to = from + block < x.cols ? from + block : x.cols;
    for (int64_t token = 0; token < x.tokens; token += x.group) {
      const int64_t left = x.tokens - token;
      const int tokens = left < x.group ? static_cast<int>(left) : x.group;
      pick_float_panels<F, kFloatTokens>(tokens)(w, begin, end, from, to, data + token * x.cols, out + token * stride,
                                                 stride);
    }
  }
}

}  // namespace

void matmul_floats(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                   int64_t out_stride) {
  switch (w.family) {
    case Family::F32:
      return matmul_floats_of<Family::F32>(w, begin, end, x, out, out_stride);
    case Family::F16:
      return matmul_floats_of<Family::F16>(w, begin, end, x, out, out_stride);
    default:
      return matmul_floats_of<Family::BF16>(w, begin, end, x, out, out_stride);
  }
}
