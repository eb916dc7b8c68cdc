#include "quantize/layerwise/linalg.h"

#include <algorithm>
#include <cmath>

#include "kernel/kernels.h"

namespace lowbit {
namespace {

constexpr int64_t kColumnsPerTask = 96;
constexpr int64_t kRowsAtOnce = 512;  // of a matrix that is brought into the kernels' layout

int64_t panels_of(int64_t n) { return (n + kPanelRows - 1) / kPanelRows; }

}  // namespace

ErrorSpread make_spread(std::vector<float> u, int64_t cols) {
  for (int64_t i = 0; i < cols; ++i) {
    const float* row = u.data() + i * cols;
    for (int64_t j = i + 1; j < cols; ++j) u[static_cast<size_t>(j * cols + i)] = row[j] / row[i];
  }
  return {cols, std::move(u)};
}

std::vector<float> product(const float* x, int64_t rows, const RowSource& w, int64_t n, int64_t k, ThreadPool& pool) {
  std::vector<float> out(static_cast<size_t>(rows * n)), some(static_cast<size_t>(std::min(n, kRowsAtOnce) * k));
  Activations activations;
  for (int64_t first = 0; first < n; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, n - first);
    pool.run(count, [&](int64_t i, int) { w(first + i, 1, some.data() + i * k); });
    const PackedMatrix packed = pack_matrix(encoding(EncodingId::F32), count, k,
                                            reinterpret_cast<const std::byte*>(some.data()), nullptr, pool);
    if (first == 0) prepare(kernels(), packed, x, rows, activations, pool);
    pool.run(packed.panels(), [&](int64_t panel, int) {
      kernels().matmul_floats(packed.view(), panel, panel + 1, activations.view, out.data() + first, n);
    });
  }
  return out;
}

std::vector<float> product(const float* x, int64_t rows, const std::vector<float>& w, int64_t n, int64_t k,
                           ThreadPool& pool) {
  return product(
      x, rows, [&](int64_t first, int64_t count, float* out) { std::copy_n(w.begin() + first * k, count * k, out); }, n,
      k, pool);
}

std::vector<float> times_inverse(const std::vector<float>& x, int64_t rows, const ErrorSpread& factor,
                                 ThreadPool& pool) {
  const int64_t n = factor.cols;
  const float* u = factor.values.data();
  const std::vector<float> half = product(
      x.data(), rows,
      [&](int64_t r, int64_t, float* out) {
        std::fill_n(out, r, 0.0F);
        std::copy_n(u + r * n + r, n - r, out + r);
      },
      n, n, pool);
  return product(
      half.data(), rows,
      [&](int64_t c, int64_t, float* out) {
        for (int64_t r = 0; r <= c; ++r) out[r] = u[r * n + c];
        std::fill_n(out + c + 1, n - c - 1, 0.0F);
      },
      n, n, pool);
}

Gram::Gram(int64_t rows, int64_t cols, bool symmetric)
    : rows_(rows), cols_(cols), symmetric_(symmetric), sums_(static_cast<size_t>(rows * cols)) {}

void Gram::add(const float* a, const float* b, int64_t tokens, ThreadPool& pool) {
  const Kernels& k = kernels();
  const int group = k.float_group;
  // The kernels' own layouts (layout.h), made from row-major inputs: a as a matrix of `cols_` rows and `tokens`
  // columns, b as `rows_` rows of activations.
  const int64_t panels = panels_of(cols_), panel_floats = tokens * kPanelRows;
  const auto padding = static_cast<size_t>(kPanelRows);
  left_.resize(static_cast<size_t>(panels * panel_floats) + padding);
  right_.resize(static_cast<size_t>(rows_ * tokens) + padding);
  const auto aligned = [](std::vector<float>& v) {
    const auto at = reinterpret_cast<uintptr_t>(v.data());
    return v.data() + (64 - at % 64) % 64 / sizeof(float);
  };
  float *left = aligned(left_), *right = aligned(right_);
  pool.run(panels, [&](int64_t panel, int) {
    const int64_t first = panel * kPanelRows, count = std::min<int64_t>(kPanelRows, cols_ - first);
    float* out = left + panel * panel_floats;
    for (int64_t t = 0; t < tokens; ++t, out += kPanelRows) {
      std::copy_n(a + t * cols_ + first, count, out);
      std::fill_n(out + count, kPanelRows - count, 0.0F);
    }
  });
  pool.run((rows_ + group - 1) / group, [&](int64_t g, int) {
    const int64_t first = g * group, count = std::min<int64_t>(group, rows_ - first);
    float* out = right + first * tokens;
    for (int64_t t = 0; t < tokens; ++t, out += count) std::copy_n(b + t * rows_ + first, count, out);
  });
  const PackedView view{reinterpret_cast<const uint8_t*>(left),
                        static_cast<uint64_t>(panel_floats) * sizeof(float),
                        cols_,
                        tokens,
                        Family::F32,
                        0,
                        {}};
  const int64_t step = kColumnsPerTask / group * group;
  pool.run((rows_ + step - 1) / step, [&](int64_t task, int) {
    const int64_t first = task * step, count = std::min(step, rows_ - first);
    const ActivationView inputs{right + first * tokens, count, tokens, group};
    const int64_t end = symmetric_ ? std::min(panels, panels_of(first + count)) : panels;
    std::vector<float> part(static_cast<size_t>(count * cols_));
    k.matmul_floats(view, 0, end, inputs, part.data(), cols_);
    const int64_t used = std::min(cols_, end * kPanelRows);
    for (int64_t r = 0; r < count; ++r) {
      float* to = sums_.data() + (first + r) * cols_;
      for (int64_t c = 0; c < used; ++c) to[c] += part[static_cast<size_t>(r * cols_ + c)];
    }
  });
  tokens_ += tokens;
}

std::vector<float> Gram::take_mean() {
  const float scale = tokens_ > 0 ? 1.0F / static_cast<float>(tokens_) : 0.0F;
  for (int64_t r = 0; r < rows_; ++r) {
    float* row = sums_.data() + r * cols_;
    const int64_t count = symmetric_ ? r + 1 : cols_;
    for (int64_t c = 0; c < count; ++c) row[c] *= scale;
    for (int64_t c = 0; c < count && symmetric_; ++c) sums_[static_cast<size_t>(c * cols_ + r)] = row[c];
  }
  rows_ = cols_ = tokens_ = 0;
  std::vector<float>().swap(left_);
  std::vector<float>().swap(right_);
  return std::move(sums_);
}

}  // namespace lowbit
