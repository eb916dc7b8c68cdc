// Attention of one token, written against the lanes of vec_*.h and included inside the namespace of an instruction set.
// Positions are taken in blocks of 64 on a grid that starts at position 0, so that a token's sums do not depend on how
// many other tokens are computed with it.

namespace {

constexpr int kBlockPositions = 64;

/// One query head over one block: scores, their exponentials, and what they add to `out`.
struct HeadState {
  float most = -__builtin_inff();
  Vec total = set1(0.0f);
};

inline float dot_f16(const float* q, const uint16_t* k, int n) {
  Vec total = set1(0.0f);
  int i = 0;
  for (; i + 16 <= n; i += 16) total = fma(load(q + i), load_f16(k + i), total);
  if (i < n) total = fma(load(q + i, n - i), load_f16(k + i, n - i), total);
  return sum(total);
}

void attend_block(const AttentionArgs& a, const float* q, const uint16_t* k, const uint16_t* v, float* out,
                  int64_t block, HeadState& state) {
  const int64_t stride = static_cast<int64_t>(a.kv_heads) * a.head_dim;
  const int64_t begin = block < a.first ? a.first : block;
  const int64_t end = block + kBlockPositions <= a.last ? block + kBlockPositions : a.last + 1;
  float weights[kBlockPositions];
  for (int i = 0; i < kBlockPositions; ++i) weights[i] = -__builtin_inff();
  Vec largest = set1(state.most);
  for (int64_t p = begin; p < end; ++p) weights[p - block] = dot_f16(q, k + p * stride, a.head_dim) * a.scale;
  for (int i = 0; i < kBlockPositions; i += 16) largest = max(load(weights + i), largest);

  const float most = max_lane(largest);
  const Vec rescale = exp(set1(state.most - most));
  state.most = most;
  state.total = mul(state.total, rescale);
  for (int i = 0; i < kBlockPositions; i += 16) {
    const Vec e = exp(sub(load(weights + i), set1(most)));
    state.total = add(state.total, e);
    store(weights + i, e);
  }
  for (int d = 0; d < a.head_dim; d += 16) {
    const int n = a.head_dim - d < 16 ? a.head_dim - d : 16;
    Vec sum_d = mul(load(out + d, n), rescale);
    for (int64_t p = begin; p < end; ++p) {
      sum_d = fma(set1(weights[p - block]), n == 16 ? load_f16(v + p * stride + d) : load_f16(v + p * stride + d, n),
                  sum_d);
    }
    store(out + d, sum_d, n);
  }
}

}  // namespace

void attention(const AttentionArgs& a) {
  const int shared = a.heads / a.kv_heads;  // query heads that share a key head
  for (int h = 0; h < a.heads; ++h) {
    const int64_t at = static_cast<int64_t>(h) * a.head_dim, kv = static_cast<int64_t>(h / shared) * a.head_dim;
    float* out = a.out + at;
    for (int d = 0; d < a.head_dim; ++d) out[d] = 0.0f;
    HeadState state;
    for (int64_t block = a.first / kBlockPositions * kBlockPositions; block <= a.last; block += kBlockPositions) {
      attend_block(a, a.q + at, a.k + kv, a.v + kv, out, block, state);
    }
    const Vec total = set1(sum(state.total));
    for (int d = 0; d < a.head_dim; d += 16) {
      const int n = a.head_dim - d < 16 ? a.head_dim - d : 16;
      store(out + d, div(load(out + d, n), total), n);
    }
  }
}
