#include "quantize/linalg.h"

#include <algorithm>

#include "kernel/kernels.h"

namespace lowbit {

std::vector<float> product(const std::vector<float>& x, int64_t rows, const std::vector<float>& w, int64_t n, int64_t k,
                           ThreadPool& pool) {
  const PackedMatrix packed =
      pack_matrix(encoding(EncodingId::F32), n, k, reinterpret_cast<const std::byte*>(w.data()), nullptr, pool);
  std::vector<float> out(static_cast<size_t>(rows * n));
  Activations activations;
  prepare(kernels(), packed, x.data(), rows, activations, pool);
  matmul(kernels(), packed, activations, out.data(), pool);
  return out;
}

std::vector<float> times_inverse(const std::vector<float>& x, int64_t rows, const std::vector<float>& u, int64_t n,
                                 ThreadPool& pool) {
  const std::vector<float> half = product(x, rows, u, n, n, pool);
  std::vector<float> transposed(u.size());
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = r; c < n; ++c) transposed[static_cast<size_t>(c * n + r)] = u[static_cast<size_t>(r * n + c)];
  }
  return product(half, rows, transposed, n, n, pool);
}

namespace {

constexpr int64_t kColumnsPerTask = 96;

int64_t panels_of(int64_t n) { return (n + kPanelRows - 1) / kPanelRows; }

}  // namespace

Gram::Gram(int64_t rows, int64_t cols, bool symmetric)
    : rows_(rows), cols_(cols), symmetric_(symmetric), sums_(static_cast<size_t>(rows * cols)), part_(sums_.size()) {}

void Gram::add(const float* a, const float* b, int64_t tokens, ThreadPool& pool) {
  const Kernels& k = kernels();
  const int group = k.float_group;
  // The kernels' own layouts (layout.h), made from row-major inputs: a as a matrix of `rows_` rows and `tokens`
  // columns, b as `cols_` rows of activations.
  const int64_t panels = panels_of(rows_), panel_floats = tokens * kPanelRows;
  const auto padding = static_cast<size_t>(kPanelRows);
  left_.resize(static_cast<size_t>(panels * panel_floats) + padding);
  right_.resize(static_cast<size_t>(cols_ * tokens) + padding);
  const auto aligned = [](std::vector<float>& v) {
    const auto at = reinterpret_cast<uintptr_t>(v.data());
    return v.data() + (64 - at % 64) % 64 / sizeof(float);
  };
  float *left = aligned(left_), *right = aligned(right_);
  pool.run(panels, [&](int64_t panel, int) {
    const int64_t first = panel * kPanelRows, count = std::min<int64_t>(kPanelRows, rows_ - first);
    float* out = left + panel * panel_floats;
    for (int64_t t = 0; t < tokens; ++t, out += kPanelRows) {
      std::copy_n(a + t * rows_ + first, count, out);
      std::fill_n(out + count, kPanelRows - count, 0.0F);
    }
  });
  pool.run((cols_ + group - 1) / group, [&](int64_t g, int) {
    const int64_t first = g * group, count = std::min<int64_t>(group, cols_ - first);
    float* out = right + first * tokens;
    for (int64_t t = 0; t < tokens; ++t, out += count) std::copy_n(b + t * cols_ + first, count, out);
  });
  const PackedView view{reinterpret_cast<const uint8_t*>(left),
                        static_cast<uint64_t>(panel_floats) * sizeof(float),
                        rows_,
                        tokens,
                        Family::F32,
                        {}};
  const int64_t step = kColumnsPerTask / group * group;
  pool.run((cols_ + step - 1) / step, [&](int64_t task, int) {
    const int64_t first = task * step, count = std::min(step, cols_ - first);
    const ActivationView columns{right + first * tokens, count, tokens, group};
    const int64_t end = symmetric_ ? std::min(panels, panels_of(first + count)) : panels;
    k.matmul_floats(view, 0, end, columns, part_.data() + first * rows_, rows_);
    const int64_t used = std::min(rows_, end * kPanelRows);
    for (int64_t c = first; c < first + count; ++c) {
      for (int64_t r = 0; r < used; ++r) {
        const auto at = static_cast<size_t>(c * rows_ + r);
        sums_[at] += static_cast<double>(part_[at]);
      }
    }
  });
  tokens_ += tokens;
}

std::vector<double> Gram::mean() const {
  std::vector<double> out(sums_.size());
  const double scale = tokens_ > 0 ? 1.0 / static_cast<double>(tokens_) : 0.0;
  for (int64_t r = 0; r < rows_; ++r) {
    for (int64_t c = 0; c < cols_; ++c) {
      const int64_t from = symmetric_ && r > c ? r * rows_ + c : c * rows_ + r;
      out[static_cast<size_t>(r * cols_ + c)] = sums_[static_cast<size_t>(from)] * scale;
    }
  }
  return out;
}

}  // namespace lowbit
