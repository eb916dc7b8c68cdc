// Products with F32, F16 and BF16 weights, written against the lanes of vec_*.h and included inside the namespace of an
// instruction set, after kFloatTokens (tokens a group), kFloatPanels (panels at once), kSingleTokenPanels (of more than
// kLongestSinglePanel bytes), kStreamedTokens (up to which making weights binary32 in registers, for every group once
// more, takes less time than putting them down) and kFloatAhead (bytes from what one token reads to what it asks memory
// for; 0: hardware's own prefetching does).
//
// An output is one chain of fused multiply-adds over ascending columns, whatever the blocking.
//
// Few tokens are bound by memory: weights stream by, all columns of a panel, for a group of tokens after another. Many
// tokens are bound by arithmetic: weights of a block of columns are made binary32 once and stay in a near cache while
// the tokens pass.

namespace {

static_assert(kTaskTokens % kFloatTokens == 0);
/// Columns between two visits of the outputs, so that kFloatPanels panels of weights take 128 KiB: in the second cache,
/// from which they stream; shorter blocks, that the first one holds, visit the outputs more often than that is worth.
constexpr int64_t kFloatBlock = 2048 / kFloatPanels;

template <Family F>
inline Vec weights_at(const uint8_t* panel, int64_t column) {
  const int64_t at = column * kPanelRows;
  if constexpr (F == Family::F32) return load(reinterpret_cast<const float*>(panel) + at);
  if constexpr (F == Family::F16) return load_f16(reinterpret_cast<const uint16_t*>(panel) + at);
  return load_bf16(reinterpret_cast<const uint16_t*>(panel) + at);
}

/// T tokens by P panels, from memory (kStreams; a near cache from the second group on) or as decoded: `cols` columns of
/// weights (panels panel_bytes apart) and of x ([column][T]) are added to out, of which `rows` rows are left; or put
/// there, if they are the first.
template <Family F, int T, int P, bool kStreams>
void float_tile(const uint8_t* weights, uint64_t panel_bytes, int64_t cols, const float* x, bool first, float* out,
                int64_t stride, int64_t rows) {
  Vec total[P][T];
  int own[P];
  for (int p = 0; p < P; ++p) {
    const int64_t left = rows - p * kPanelRows;
    own[p] = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
    for (int t = 0; t < T; ++t) {
      total[p][t] = first ? set1(0.0f) : load(out + t * stride + p * kPanelRows, own[p]);
    }
  }
  constexpr int64_t kColumn = kPanelRows * (F == Family::F32 ? 4 : 2);  // bytes
  for (int64_t c = 0; c < cols; ++c) {
    if (kStreams && T == 1 && kFloatAhead > 0 && (c * kColumn) % 64 == 0) {
      for (int p = 0; p < P; ++p) {
        __builtin_prefetch(weights + static_cast<uint64_t>(p) * panel_bytes + c * kColumn + kFloatAhead);
      }
    }
    Vec weight[P];
    for (int p = 0; p < P; ++p) weight[p] = weights_at<F>(weights + static_cast<uint64_t>(p) * panel_bytes, c);
    LOWBIT_UNROLL
    for (int t = 0; t < T; ++t) {
      const Vec activation = set1(x[c * T + t]);
      LOWBIT_UNROLL
      for (int p = 0; p < P; ++p) total[p][t] = fma(weight[p], activation, total[p][t]);
    }
  }
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) store(out + t * stride + p * kPanelRows, total[p][t], own[p]);
  }
}

using FloatTile = void (*)(const uint8_t*, uint64_t, int64_t, const float*, bool, float*, int64_t, int64_t);

template <Family F, int T, int P, bool kStreams>
FloatTile pick_float_tile(int64_t tokens) {
  if constexpr (T == 1)
    return float_tile<F, 1, P, kStreams>;
  else
    return tokens == T ? float_tile<F, T, P, kStreams> : pick_float_tile<F, T - 1, P, kStreams>(tokens);
}

/// All columns of P panels at once for as long as there are so many, made binary32 in registers for each kFloatTokens
/// tokens. Returns the first panel that is left.
template <Family F, int P>
int64_t stream_panels(const PackedView& w, int64_t panel, int64_t end, const ActivationView& x, float* out,
                      int64_t stride) {
  constexpr int kMost = P > kFloatPanels ? 1 : kFloatTokens;  // tokens by panels that registers hold
  const auto* data = static_cast<const float*>(x.data);
  for (; panel + P <= end; panel += P) {
    for (int64_t token = 0; token < x.tokens; token += kMost) {
      const int64_t tokens = x.tokens - token < kMost ? x.tokens - token : kMost;
      pick_float_tile<F, kMost, P, true>(tokens)(
          w.data + static_cast<uint64_t>(panel) * w.panel_bytes, w.panel_bytes, x.cols, data + token * x.cols, true,
          out + token * stride + panel * kPanelRows, stride, w.rows - panel * kPanelRows);
    }
  }
  return panel;
}

template <Family F>
void stream(const PackedView& w, int64_t panel, int64_t end, const ActivationView& x, float* out, int64_t stride) {
  if (x.tokens == 1 && w.panel_bytes <= kLongestSinglePanel) {
    stream_panels<F, 1>(w, panel, end, x, out, stride);
    return;
  }
  if (x.tokens == 1) {
    panel = stream_panels<F, kSingleTokenPanels>(w, panel, end, x, out, stride);
    if constexpr (kSingleTokenPanels > 2) panel = stream_panels<F, 2>(w, panel, end, x, out, stride);
  }
  if constexpr (kFloatPanels > 1) panel = stream_panels<F, kFloatPanels>(w, panel, end, x, out, stride);
  stream_panels<F, 1>(w, panel, end, x, out, stride);
}

/// `cols` columns of P panels, the first of which is column `from` of x, by all tokens.
template <Family F, int P>
void many_tokens(const uint8_t* weights, uint64_t panel_bytes, int64_t cols, const ActivationView& x, int64_t from,
                 float* out, int64_t stride, int64_t rows) {
  alignas(64) float block[P][kFloatBlock * kPanelRows];
  if constexpr (F != Family::F32) {
    for (int p = 0; p < P; ++p) {
      for (int64_t c = 0; c < cols; ++c) {
        store(block[p] + c * kPanelRows, weights_at<F>(weights + static_cast<uint64_t>(p) * panel_bytes, c));
      }
    }
    weights = reinterpret_cast<const uint8_t*>(block);
    panel_bytes = sizeof block[0];
  }
  const auto* data = static_cast<const float*>(x.data);
  for (int64_t token = 0; token < x.tokens; token += kFloatTokens) {
    const int64_t tokens = x.tokens - token < kFloatTokens ? x.tokens - token : kFloatTokens;
    pick_float_tile<Family::F32, kFloatTokens, P, false>(tokens)(weights, panel_bytes, cols,
                                                                 data + token * x.cols + from * tokens, from == 0,
                                                                 out + token * stride, stride, rows);
  }
}

template <Family F>
void matmul_floats_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                      int64_t stride) {
  if (x.tokens <= kStreamedTokens) return stream<F>(w, begin, end, x, out, stride);
  constexpr int64_t kElement = F == Family::F32 ? 4 : 2;
  for (int64_t from = 0; from < x.cols; from += kFloatBlock) {
    const int64_t cols = x.cols - from < kFloatBlock ? x.cols - from : kFloatBlock;
    for (int64_t panel = begin, panels = 0; panel < end; panel += panels) {
      panels = panel + kFloatPanels <= end ? kFloatPanels : 1;
      const auto multiply = panels == kFloatPanels ? many_tokens<F, kFloatPanels> : many_tokens<F, 1>;
      multiply(w.data + static_cast<uint64_t>(panel) * w.panel_bytes + from * kPanelRows * kElement, w.panel_bytes,
               cols, x, from, out + panel * kPanelRows, stride, w.rows - panel * kPanelRows);
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
