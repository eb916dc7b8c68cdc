// Cholesky factors of inverses, in binary64, blocked and threaded. Each element is one chain of fused multiply-adds in
// a fixed order: the same bits on every machine, for any number of threads.
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

/// The upper triangular U with H^-1 = U^T U, for a symmetric positive definite H, as binary32 [n, n]. Works in h's own
/// memory, which is empty afterwards. False if H is not positive definite to working precision, or holds anything that
/// is not finite.
bool inverse_factor(SquareMatrix h, std::vector<float>& u, ThreadPool& pool);

}  // namespace lowbit
