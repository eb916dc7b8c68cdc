// Products of BF16 weights, or of F16 ones rounded to BF16, with activations rounded to BF16, two columns a step, twice
// as fast as binary32.
//
// An output is one chain over ascending pairs of columns: what the second column of a pair gives is added first, then
// what the first gives, each by a fused multiply-add that takes what is below the smallest normal number for zero. That
// is VDPBF16PS (Intel's manual, volume 2).
#include <immintrin.h>

#include "kernel/ops.h"
#include "kernel/unroll.h"

namespace lowbit::zen4 {
namespace {

/// Tokens by panels that registers hold; panels that one token reads at once (see kShortPanel).
constexpr int kTokens = 12, kPanels = 2, kSingleTokenPanels = 4;
static_assert(kTaskTokens % kTokens == 0);
/// Pairs between two visits of the outputs, so that kPanels panels of weights stay in the second cache.
constexpr int64_t kBlockPairs = 4096;
constexpr int64_t kPairBytes = 2 * 2 * kPanelRows;

struct Weights {
  const uint8_t* data;  ///< of the first panel
  uint64_t panel_bytes;
  int64_t cols, rows;  ///< that are left
};

/// Columns 2 `pair` and 2 `pair` + 1, row by row; 0 beyond the last column, with which panels are padded.
template <Family F>
inline __m512bh weight_pair(const uint8_t* panel, int64_t pair) {
  alignas(64) static constexpr uint16_t kByRow[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const uint8_t* at = panel + pair * kPairBytes;
  __m512i columns;
  if constexpr (F == Family::BF16) {
    columns = _mm512_loadu_si512(at);
  } else {
    const auto floats = [&](const uint8_t* column) __attribute__((always_inline)) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(column)));
    };
    columns = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(floats(at + kPairBytes / 2), floats(at)));
  }
  return reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_load_si512(kByRow), columns));
}

inline __mmask16 row_mask(int64_t rows) {
  return static_cast<__mmask16>(rows >= kPanelRows ? 0xffffU : rows > 0 ? (1U << rows) - 1 : 0U);
}

/// T tokens by P panels: columns from w.data on are added to out, or put there if they are the first; x is [pair][T].
template <Family F, int T, int P>
void multiply(const Weights& w, const uint32_t* x, bool first, float* out, int64_t stride) {
  __m512 total[P][T];
  __mmask16 rows[P];
  for (int p = 0; p < P; ++p) {
    rows[p] = row_mask(w.rows - p * kPanelRows);
    for (int t = 0; t < T; ++t) {
      total[p][t] = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows[p], out + t * stride + p * kPanelRows);
    }
  }
  for (int64_t pair = 0; pair < (w.cols + 1) / 2; ++pair) {
    __m512bh weights[P];
    for (int p = 0; p < P; ++p) {
      weights[p] = weight_pair<F>(w.data + static_cast<uint64_t>(p) * w.panel_bytes, pair);
    }
    LOWBIT_UNROLL
    for (int t = 0; t < T; ++t) {
      const auto activations = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x[pair * T + t])));
      LOWBIT_UNROLL
      for (int p = 0; p < P; ++p) total[p][t] = _mm512_dpbf16_ps(total[p][t], weights[p], activations);
    }
  }
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(out + t * stride + p * kPanelRows, rows[p], total[p][t]);
  }
}

using Multiply = void (*)(const Weights&, const uint32_t*, bool, float*, int64_t);

template <Family F, int T, int P>
Multiply pick(int64_t tokens) {
  if constexpr (T == 1)
    return multiply<F, 1, P>;
  else
    return tokens == T ? multiply<F, T, P> : pick<F, T - 1, P>(tokens);
}

/// Columns [from, from + cols) of P panels at once for as long as there are so many. Returns the first that is left.
template <Family F, int P>
int64_t multiply_panels(const PackedView& w, int64_t panel, int64_t end, int64_t from, int64_t cols,
                        const ActivationView& x, float* out, int64_t stride) {
  constexpr int kMost = P > kPanels ? 1 : kTokens;
  const auto* activations = static_cast<const uint32_t*>(x.data);
  const int64_t pairs = (x.cols + 1) / 2;
  for (; panel + P <= end; panel += P) {
    const Weights some{w.data + static_cast<uint64_t>(panel) * w.panel_bytes + from * 2 * kPanelRows, w.panel_bytes,
                       cols, w.rows - panel * kPanelRows};
    for (int64_t token = 0; token < x.tokens; token += kMost) {
      const int64_t tokens = x.tokens - token < kMost ? x.tokens - token : kMost;
      pick<F, kMost, P>(tokens)(some, activations + token * pairs + from / 2 * tokens, from == 0,
                                out + token * stride + panel * kPanelRows, stride);
    }
  }
  return panel;
}

template <Family F>
void matmul_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, int64_t stride) {
  const int64_t block = x.tokens == 1 ? x.cols : 2 * kBlockPairs;
  for (int64_t from = 0; from < x.cols; from += block) {
    const int64_t cols = x.cols - from < block ? x.cols - from : block;
    int64_t panel = begin;
    if (x.tokens == 1 && w.panel_bytes > kShortPanel) {
      panel = multiply_panels<F, kSingleTokenPanels>(w, panel, end, from, cols, x, out, stride);
    } else if (x.tokens > 1) {
      panel = multiply_panels<F, kPanels>(w, panel, end, from, cols, x, out, stride);
    }
    multiply_panels<F, 1>(w, panel, end, from, cols, x, out, stride);
  }
}

}  // namespace

const int kBf16Group = kTokens;

void bf16_row(const float* x, int64_t cols, uint32_t* out, int64_t stride) {
  constexpr int kFloats = 16;
  for (int64_t c = 0; c < cols; c += kFloats) {
    const int64_t count = cols - c < kFloats ? cols - c : kFloats;
    alignas(32) uint32_t pairs[kFloats / 2];
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(row_mask(count), x + c));
    _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), reinterpret_cast<__m256i>(rounded));
    for (int64_t i = 0; i < (count + 1) / 2; ++i, out += stride) *out = pairs[i];
  }
}

void matmul_bf16(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                 int64_t out_stride) {
  const auto multiply = w.family == Family::F16 ? matmul_of<Family::F16> : matmul_of<Family::BF16>;
  multiply(w, begin, end, x, out, out_stride);
}

}  // namespace lowbit::zen4
