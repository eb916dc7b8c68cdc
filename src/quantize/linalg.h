// The products of calibrated rounding, over the float kernels. The factor of H is in cholesky.h.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace lowbit {

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
