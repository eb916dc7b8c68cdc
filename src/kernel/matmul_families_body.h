// The products of every family; included after matmul_rows_body.h and, where many tokens are multiplied in another way,
// what says so (LOWBIT_TILES and matmul_tiles_body.h).

namespace {

static_assert(kTaskTokens % kGroupTokens == 0);

template <Family F>
void matmul_many(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, Table table, float* out,
                 int64_t stride) {
#if defined(LOWBIT_TILES)
  if constexpr (StoredTile<F>::kParts == 1) return matmul_tiles<F>(w, begin, end, x, table, out, stride);
#endif
  return matmul_rows<F, kGroupTokens>(w, begin, end, x, table, out, stride);
}

/// By panels [begin, end) that are decoded in registers, for every few_tokens() once more.
template <Family F>
void matmul_in_registers(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, Table table,
                         float* out, int64_t stride) {
  constexpr int kFew = few_tokens(traits(F));
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  for (int64_t group = 0; group < x.tokens; group += kGroupTokens) {
    const int64_t width = x.tokens - group < kGroupTokens ? x.tokens - group : kGroupTokens;
    const ActivationTile* of_group = activations + group * (w.cols / kTileCols);
    const int64_t passes = (width + kFew - 1) / kFew;
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t pass = 0; pass < passes; ++pass) {
        const int64_t first = width * pass / passes, tokens = width * (pass + 1) / passes - first;
        pick_few<F, 1, kFew>(tokens)(w, panel, table, of_group + first, width, out + (group + first) * stride, stride);
      }
    }
  }
}

/// One token by N panels at once for as long as there are so many. Returns the first panel that is left.
template <Family F, int N>
int64_t matmul_one(const PackedView& w, int64_t panel, int64_t end, const ActivationView& x, Table table, float* out,
                   int64_t stride) {
  for (; panel + N <= end; panel += N) {
    multiply_few<F, N, 1>(w, panel, table, static_cast<const ActivationTile*>(x.data), 1, out, stride);
  }
  return panel;
}

template <Family F>
void matmul_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, int64_t stride) {
  const Table table = table_of<F>(w);
  constexpr int64_t kMost = most_in_registers(traits(F));
  if constexpr (kMost != kAnyTokens) {
    static_assert(kMost <= kGroupTokens);
    if (x.tokens > kMost) return matmul_many<F>(w, begin, end, x, table, out, stride);
  }
  if (x.tokens == 1 && w.panel_bytes > longest_single_panel(traits(F))) {
    begin = matmul_one<F, streams(traits(F))>(w, begin, end, x, table, out, stride);
  }
  matmul_in_registers<F>(w, begin, end, x, table, out, stride);
}

}  // namespace

const int kCodeGroup = kGroupTokens;

void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                  int64_t out_stride) {
  switch (w.family) {
    case Family::S4:
      return matmul_of<Family::S4>(w, begin, end, x, out, out_stride);
    case Family::M4:
      return matmul_of<Family::M4>(w, begin, end, x, out, out_stride);
    case Family::T4:
      return matmul_of<Family::T4>(w, begin, end, x, out, out_stride);
    case Family::S5:
      return matmul_of<Family::S5>(w, begin, end, x, out, out_stride);
    case Family::M5:
      return matmul_of<Family::M5>(w, begin, end, x, out, out_stride);
    case Family::S8:
      return matmul_of<Family::S8>(w, begin, end, x, out, out_stride);
    case Family::K2:
      return matmul_of<Family::K2>(w, begin, end, x, out, out_stride);
    case Family::K3:
      return matmul_of<Family::K3>(w, begin, end, x, out, out_stride);
    case Family::K4:
      return matmul_of<Family::K4>(w, begin, end, x, out, out_stride);
    case Family::TK4:
      return matmul_of<Family::TK4>(w, begin, end, x, out, out_stride);
    case Family::K5:
      return matmul_of<Family::K5>(w, begin, end, x, out, out_stride);
    case Family::K6:
      return matmul_of<Family::K6>(w, begin, end, x, out, out_stride);
    case Family::Z2:
      return matmul_of<Family::Z2>(w, begin, end, x, out, out_stride);
    case Family::Z3:
      return matmul_of<Family::Z3>(w, begin, end, x, out, out_stride);
    case Family::Z4:
      return matmul_of<Family::Z4>(w, begin, end, x, out, out_stride);
    case Family::Z8:
      return matmul_of<Family::Z8>(w, begin, end, x, out, out_stride);
    case Family::F32:
    case Family::F16:
    case Family::BF16:
      return;
  }
}
