// Included by doubles_*.cc after kLanes64 lanes of binary64 (Wide) and their operations.

namespace {

/// Rows [row, row + kRows) and columns [col, col + kVectors * kLanes64) of the tile, all of it in registers.
template <int kRows, int kVectors>
inline void subtract_part(const double* a, const double* b, int64_t count, double* c, int64_t stride, int row,
                          int col) {
  Wide sums[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) sums[i][v] = load64(c + (row + i) * stride + col + v * kLanes64);
  }
  for (int64_t k = 0; k < count; ++k) {
    Wide right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = load64(b + k * kTileCols64 + col + v * kLanes64);
    for (int i = 0; i < kRows; ++i) {
      const Wide left = set64(a[k * kTileRows + row + i]);
      for (int v = 0; v < kVectors; ++v) sums[i][v] = fnma64(left, right[v], sums[i][v]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) store64(c + (row + i) * stride + col + v * kLanes64, sums[i][v]);
  }
}

}  // namespace

void subtract_products(const double* a, const double* b, int64_t count, double* c, int64_t stride) {
  constexpr int kCols = kPartVectors * kLanes64;
  for (int col = 0; col < kTileCols64; col += kCols) {
    for (int row = 0; row < kTileRows; row += kPartRows) {
      subtract_part<kPartRows, kPartVectors>(a, b, count, c, stride, row, col);
    }
  }
}
