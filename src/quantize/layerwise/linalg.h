// The products of calibrated rounding, over the float kernels. The factor of H is in cholesky.h.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/thread_pool.h"

namespace lowbit {

/// How columns take up errors, for H^-1 = U^T U, in one array: row j holds U[i][j] / U[i][i] for each earlier column i,
/// and from the diagonal on U itself.
struct ErrorSpread {
  int64_t cols = 0;
  std::vector<float> values;  ///< [cols, cols]; empty: none

  bool empty() const { return values.empty(); }
};

/// From the factor of inverse_factor(), in its memory.
ErrorSpread make_spread(std::vector<float> u, int64_t cols);

/// Writes rows [first, first + count) of a matrix.
using RowSource = std::function<void(int64_t first, int64_t count, float* out)>;

/// out[rows, n] = x[rows, k] w[n, k]^T in binary32, each output one chain of fused multiply-adds, the same for any
/// number of threads. Memory: x in the kernels' layout, and some rows of w.
std::vector<float> product(const float* x, int64_t rows, const RowSource& w, int64_t n, int64_t k, ThreadPool& pool);
std::vector<float> product(const float* x, int64_t rows, const std::vector<float>& w, int64_t n, int64_t k,
                           ThreadPool& pool);

/// out[rows, cols] = x[rows, cols] U^T U: x H^-1.
std::vector<float> times_inverse(const std::vector<float>& x, int64_t rows, const ErrorSpread& factor,
                                 ThreadPool& pool);

/// Sums of products of inputs over tokens: sum_t a[t, j] b[t, i] at [i, j], in binary32 over slices of tokens.
class Gram {
 public:
  /// For a[tokens, cols] and b[tokens, rows]. `symmetric`: they will be the same inputs, so that half the work is
  /// enough.
  Gram(int64_t rows, int64_t cols, bool symmetric);

  void add(const float* a, const float* b, int64_t tokens, ThreadPool& pool);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool empty() const { return rows_ == 0; }
  /// [rows, cols], divided by the number of tokens; both halves are filled. Nothing is left behind.
  std::vector<float> take_mean();

 private:
  int64_t rows_, cols_, tokens_ = 0;
  bool symmetric_;
  std::vector<float> sums_;
  std::vector<float> left_, right_;
};

}  // namespace lowbit
