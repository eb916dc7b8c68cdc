#include "quantize/layerwise/cholesky.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernel/doubles.h"

namespace lowbit {
namespace {

constexpr int64_t kBlock = 128;  // columns (or rows) that are finished together
constexpr int64_t kDepth = 256;  // products that are summed at a time: their operands stay in the caches
constexpr int64_t kTilesPerTask = 8;

int64_t tiles_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

/// A lower triangular matrix in the making.
class Triangle {
 public:
  Triangle(SquareMatrix& m, ThreadPool& pool) : m_(m), n_(m.n), pool_(pool), kernel_(double_kernels()) {}

  /// The lower half becomes L with L L^T = the matrix. What is above the diagonal is not read, and destroyed.
  bool factor() {
    for (int64_t begin = 0; begin < n_ && good_; begin += kBlock) {
      const int64_t width = std::min(kBlock, n_ - begin);
      take_off_columns(begin, width);
      for (int64_t row = begin; row < begin + width && good_; row += kTileRows) {
        finish_rows(row, std::min<int64_t>(kTileRows, begin + width - row), begin, width);
      }
      const int64_t below = begin + width;
      for_row_tiles(below, n_, [&](int64_t row, int64_t rows) {
        if (good_) finish_rows(row, rows, begin, width);
      });
    }
    return good_;
  }

  /// The lower half L becomes L^-1.
  void invert() {
    for (int64_t begin = 0; begin < n_; begin += kBlock) {
      const int64_t height = std::min(kBlock, n_ - begin);
      sums_.assign(static_cast<size_t>(height * n_), 0.0);
      take_off_rows(begin, height);
      pool_.run(tiles_of(begin + height, kTileCols64),
                [&](int64_t tile, int) { finish_columns(tile * kTileCols64, begin, height); });
      for (int64_t r = 0; r < height; ++r) {
        std::copy_n(sums_.begin() + r * n_, begin + r + 1, m_.values.begin() + (begin + r) * n_);
      }
    }
  }

 private:
  template <typename Task>
  void for_row_tiles(int64_t from, int64_t to, const Task& task) {
    constexpr int64_t kRows = kTileRows * kTilesPerTask;
    pool_.run(tiles_of(to - from, kRows), [&](int64_t i, int) {
      const int64_t end = std::min(to, from + (i + 1) * kRows);
      for (int64_t row = from + i * kRows; row < end; row += kTileRows) {
        task(row, std::min<int64_t>(kTileRows, end - row));
      }
    });
  }

  /// out[k * tile + i] = element (first + i, from + k); zeros beyond `rows`.
  void pack_rows(int64_t first, int64_t rows, int64_t tile, int64_t from, int64_t count, double* out) const {
    for (int64_t i = 0; i < tile; ++i) {
      const double* row = m_.values.data() + (first + std::min(i, rows - 1)) * n_ + from;
      for (int64_t k = 0; k < count; ++k) out[k * tile + i] = i < rows ? row[k] : 0;
    }
  }

  /// c -= products, where only [rows, cols] of the tile are there.
  void subtract(const double* a, const double* b, int64_t count, double* c, int64_t stride, int64_t rows,
                int64_t cols) const {
    if (rows == kTileRows && cols == kTileCols64) return kernel_.subtract_products(a, b, count, c, stride);
    double tile[kTileRows * kTileCols64] = {};
    for (int64_t i = 0; i < rows; ++i) std::copy_n(c + i * stride, cols, tile + i * kTileCols64);
    kernel_.subtract_products(a, b, count, tile, kTileCols64);
    for (int64_t i = 0; i < rows; ++i) std::copy_n(tile + i * kTileCols64, cols, c + i * stride);
  }

  /// Takes the products of all finished columns off columns [begin, begin + width).
  void take_off_columns(int64_t begin, int64_t width) {
    const int64_t panels = tiles_of(width, kTileCols64);
    right_.resize(static_cast<size_t>(panels * kDepth * kTileCols64));
    for (int64_t from = 0; from < begin; from += kDepth) {
      const int64_t count = std::min(kDepth, begin - from);
      pool_.run(panels, [&](int64_t p, int) {
        const int64_t first = begin + p * kTileCols64;
        pack_rows(first, std::min<int64_t>(kTileCols64, begin + width - first), kTileCols64, from, count, panel(p));
      });
      for_row_tiles(begin, n_, [&](int64_t row, int64_t rows) {
        double left[kDepth * kTileRows];
        pack_rows(row, rows, kTileRows, from, count, left);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t col = begin + p * kTileCols64;
          subtract(left, panel(p), count, m_.values.data() + row * n_ + col, n_, rows,
                   std::min<int64_t>(kTileCols64, begin + width - col));
        }
      });
    }
  }

  /// Columns [begin, begin + width) of rows from which all columns before `begin` have been taken off.
  void finish_rows(int64_t row, int64_t rows, int64_t begin, int64_t width) {
    double left[kBlock * kTileRows], right[kBlock * kTileCols64];
    for (int64_t col = begin; col < std::min(begin + width, row + rows); col += kTileCols64) {
      const int64_t cols = std::min<int64_t>(kTileCols64, begin + width - col), before = col - begin;
      pack_rows(row, rows, kTileRows, begin, before, left);
      pack_rows(col, cols, kTileCols64, begin, before, right);
      subtract(left, right, before, m_.values.data() + row * n_ + col, n_, rows, cols);
      for (int64_t r = row; r < row + rows; ++r) finish_row(r, col, std::min(col + cols, r + 1));
    }
  }

  void finish_row(int64_t r, int64_t begin, int64_t end) {
    double* own = m_.values.data() + r * n_;
    for (int64_t c = begin; c < end; ++c) {
      const double* other = m_.values.data() + c * n_;
      double x = own[c];
      for (int64_t k = begin; k < c; ++k) x = std::fma(-own[k], other[k], x);
      if (c < r) {
        own[c] = x / other[c];
      } else if (x > 0 && std::isfinite(x)) {
        own[c] = std::sqrt(x);
      } else {
        good_ = false;
      }
    }
  }

  /// Takes the products of rows [begin, begin + height) of L with the finished rows of the inverse off sums_.
  void take_off_rows(int64_t begin, int64_t height) {
    const int64_t tiles = tiles_of(height, kTileRows), panels = tiles_of(begin, kTileCols64);
    left_.resize(static_cast<size_t>(tiles * kDepth * kTileRows));
    for (int64_t from = 0; from < begin; from += kDepth) {
      const int64_t count = std::min(kDepth, begin - from);
      pool_.run(tiles, [&](int64_t t, int) {
        const int64_t first = begin + t * kTileRows;
        pack_rows(first, std::min<int64_t>(kTileRows, begin + height - first), kTileRows, from, count, left(t));
      });
      pool_.run(panels, [&](int64_t p, int) {
        const int64_t col = p * kTileCols64;
        if (col >= from + count) return;  // the inverse is lower triangular, too: above its diagonal there is nothing
        const int64_t cols = std::min<int64_t>(kTileCols64, begin - col);
        double right[kDepth * kTileCols64];
        pack_columns(from, count, col, cols, right);
        for (int64_t t = 0; t < tiles; ++t) {
          subtract(left(t), right, count, sums_.data() + t * kTileRows * n_ + col, n_,
                   std::min<int64_t>(kTileRows, height - t * kTileRows), cols);
        }
      });
    }
  }

  /// out[k * kTileCols64 + j] = element (from + k, col + j), zero above the diagonal.
  void pack_columns(int64_t from, int64_t count, int64_t col, int64_t cols, double* out) const {
    for (int64_t k = 0; k < count; ++k) {
      const double* row = m_.values.data() + (from + k) * n_ + col;
      const int64_t there = std::clamp<int64_t>(from + k - col + 1, 0, cols);
      std::copy_n(row, there, out + k * kTileCols64);
      std::fill_n(out + k * kTileCols64 + there, kTileCols64 - there, 0.0);
    }
  }

  /// Columns [col, col + 16) of rows [begin, begin + height) of the inverse, within sums_.
  void finish_columns(int64_t col, int64_t begin, int64_t height) {
    const int64_t cols = std::min<int64_t>(kTileCols64, begin + height - col);
    double left[kBlock * kTileRows], right[kBlock * kTileCols64];
    for (int64_t top = 0; top < height; top += kTileRows) {
      const int64_t rows = std::min<int64_t>(kTileRows, height - top);
      pack_rows(begin + top, rows, kTileRows, begin, top, left);
      for (int64_t k = 0; k < top; ++k) {
        std::copy_n(sums_.begin() + k * n_ + col, cols, right + k * kTileCols64);
        std::fill_n(right + k * kTileCols64 + cols, kTileCols64 - cols, 0.0);
      }
      subtract(left, right, top, sums_.data() + top * n_ + col, n_, rows, cols);
      for (int64_t r = top; r < top + rows; ++r) finish_inverse_row(r, top, begin, col, cols);
    }
  }

  void finish_inverse_row(int64_t r, int64_t top, int64_t begin, int64_t col, int64_t cols) {
    const double* l = m_.values.data() + (begin + r) * n_ + begin;
    double* own = sums_.data() + r * n_ + col;
    for (int64_t k = top; k < r; ++k) {
      const double* other = sums_.data() + k * n_ + col;
      for (int64_t j = 0; j < cols; ++j) own[j] = std::fma(-l[k], other[j], own[j]);
    }
    for (int64_t j = 0; j < cols; ++j) {
      const int64_t c = col + j;
      own[j] = c < begin + r ? own[j] / l[r] : c == begin + r ? 1 / l[r] : 0;
    }
  }

  double* panel(int64_t p) { return right_.data() + p * kDepth * kTileCols64; }
  double* left(int64_t t) { return left_.data() + t * kDepth * kTileRows; }

  SquareMatrix& m_;
  const int64_t n_;
  ThreadPool& pool_;
  const DoubleKernels& kernel_;
  std::vector<double> left_, right_, sums_;
  std::atomic<bool> good_ = true;
};

}  // namespace

bool inverse_factor(SquareMatrix h, std::vector<float>& u, ThreadPool& pool) {
  const int64_t n = h.n;
  for (const double value : h.values) {
    if (!std::isfinite(value)) return false;
  }
  // With both axes reversed, H = L L^T for a lower L; then U is the inverse of L, reversed again.
  std::reverse(h.values.begin(), h.values.end());
  Triangle triangle(h, pool);
  if (!triangle.factor()) return false;
  triangle.invert();
  u.assign(static_cast<size_t>(n * n), 0.0F);
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c <= r; ++c) {
      const auto value = static_cast<float>(h.at(r, c));
      if (!std::isfinite(value)) return false;
      u[static_cast<size_t>(n * n - 1 - (r * n + c))] = value;
    }
  }
  return true;
}

}  // namespace lowbit
