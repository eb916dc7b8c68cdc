// The linear algebra of calibrated rounding, over LAPACK and the float kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace lowbit {

/// A square matrix [n, n], row-major.
struct SquareMatrix {
  int64_t n = 0;
  std::vector<double> values;

  explicit SquareMatrix(int64_t size = 0) : n(size), values(static_cast<size_t>(size * size)) {}
  double& at(int64_t r, int64_t c) { return values[static_cast<size_t>(r * n + c)]; }
  double at(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * n + c)]; }
};

/// The upper triangular U with H^-1 = U^T U, for a symmetric positive definite H (only its lower half is read), as
/// binary32 [n, n]. False if H is not positive definite to working precision, or holds anything that is not finite.
/// LAPACK's dpotrf and dtrtri, on one thread: the same bytes for any number of threads.
bool inverse_factor(const SquareMatrix& h, std::vector<float>& u);

/// out[rows, n] = x[rows, n] U^T U: x H^-1 for the factor of H. Binary32, the same for any number of threads.
std::vector<float> times_inverse(const std::vector<float>& x, int64_t rows, const std::vector<float>& u, int64_t n,
                                 ThreadPool& pool);

/// out[rows, n] = x[rows, k] w[n, k]^T in binary32, each output one chain of fused multiply-adds.
std::vector<float> product(const std::vector<float>& x, int64_t rows, const std::vector<float>& w, int64_t n, int64_t k,
                           ThreadPool& pool);

/// Sums of products of inputs over tokens: sum_t a[t, i] b[t, j], in binary64 over slices that are summed in binary32.
class Gram {
 public:
  /// `symmetric`: a and b will be the same inputs, so that half the work is enough.
  Gram(int64_t rows, int64_t cols, bool symmetric);

  /// Adds a[tokens, rows]^T b[tokens, cols].
  void add(const float* a, const float* b, int64_t tokens, ThreadPool& pool);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  /// [rows, cols], divided by the number of tokens; both halves are filled.
  std::vector<double> mean() const;

 private:
  int64_t rows_, cols_, tokens_ = 0;
  bool symmetric_;
  std::vector<double> sums_;  // [cols][rows]: what the kernel writes
  std::vector<float> part_;
  std::vector<float> left_, right_;
};

}  // namespace lowbit
