#include "quantize/assign/gptq.h"

#include <algorithm>

#include "quantize/assign/column_walk.h"
#include "quantize/assign/descent.h"
#include "quantize/search/search.h"

namespace lowbit {
namespace {

/// Sixteen rows, one a lane, rounded block after block.
class Strip final : public GridFinder {
 public:
  Strip(const Encoding& encoding, const GptqProblem& problem)
      : encoding_(encoding),
        problem_(problem),
        cols_(problem.spread.cols),
        walk_(problem, encoding.block, encoding.sub) {
    const auto cols = static_cast<size_t>(cols_);
    strip_.encoding = &encoding;
    strip_.levels = &batch_.levels;
    strip_.target.resize(cols);
    strip_.error.resize(cols);
    strip_.codes.resize(cols);
    strip_.headers.resize(static_cast<size_t>(cols_ / encoding.block));
  }

  void run(const float* weights, int count, std::byte* out) {
    count_ = count;
    for (int64_t c = 0; c < cols_; ++c) {
      LaneFloats& x = strip_.target[static_cast<size_t>(c)];
      for (int l = 0; l < kLanes; ++l) x.lane[l] = l < count ? weights[l * cols_ + c] : 0.0F;
    }
    walk_.run(strip_, *this);
    for (int sweep = 0; sweep < problem_.sweeps; ++sweep) descend(strip_, problem_.hessian);
    const uint64_t row_bytes = encoding_.bytes(static_cast<uint64_t>(cols_));
    for (int l = 0; l < count; ++l) pack(l, out + static_cast<uint64_t>(l) * row_bytes);
  }

  void find(int64_t begin, int64_t width, const LaneFloats* x, LaneGrid* grids) override {
    for (int64_t at = 0; at < width; at += encoding_.block, grids += encoding_.sub_blocks()) {
      search(begin + at, x + at, grids);
    }
  }

 private:
  /// Headers for the strip's block, on its weights as they are now.
  void search(int64_t begin, const LaneFloats* now, LaneGrid* grids) {
    const int width = batch_blocks(encoding_);
    auto& headers = strip_.headers[static_cast<size_t>(begin / encoding_.block)];
    headers.fill(BlockHeader{});
    const float *x[kLanes], *importance[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      for (int j = 0; j < encoding_.block; ++j) rows_[l][j] = now[j].lane[l];
    }
    for (int first = 0; first < count_; first += width) {
      const int n = std::min(width, count_ - first);
      for (int b = 0; b < n; ++b) {
        x[b] = rows_[first + b];
        importance[b] = problem_.importance.data() + begin;
      }
      gather(encoding_, x, importance, n, batch_);
      search_headers(batch_, headers.data() + first);
    }
    for (int l = 0; l < kLanes; ++l) {
      const BlockGrid grid = encoding_.grid(headers[static_cast<size_t>(l)]);
      for (int s = 0; s < encoding_.sub_blocks(); ++s) {
        grids[s].scale.lane[l] = grid.scale[static_cast<size_t>(s)];
        grids[s].min.lane[l] = grid.min[static_cast<size_t>(s)];
      }
    }
  }

  void pack(int lane, std::byte* out) const {
    uint8_t codes[kMaxBlock];
    const int low = batch_.levels.table != nullptr ? 0 : encoding_.levels.front();
    for (int64_t begin = 0; begin < cols_; begin += encoding_.block, out += encoding_.block_bytes) {
      for (int j = 0; j < encoding_.block; ++j) {
        codes[j] = static_cast<uint8_t>(strip_.codes[static_cast<size_t>(begin + j)].lane[lane] - low);
      }
      encoding_.pack(strip_.headers[static_cast<size_t>(begin / encoding_.block)][static_cast<size_t>(lane)], codes,
                     out);
    }
  }

  const Encoding& encoding_;
  const GptqProblem& problem_;
  const int64_t cols_;
  ColumnWalk walk_;
  int count_ = 0;  // rows that there are
  QuantizedStrip strip_;
  float rows_[kLanes][kMaxBlock];
  BlockBatch batch_;
};

}  // namespace

void encode_rows_gptq(const Encoding& encoding, const float* weights, int64_t rows, const GptqProblem& problem,
                      std::byte* out) {
  Strip strip(encoding, problem);
  const int64_t cols = problem.spread.cols;
  const uint64_t row_bytes = encoding.bytes(static_cast<uint64_t>(cols));
  for (int64_t row = 0; row < rows; row += kLanes) {
    const int count = static_cast<int>(std::min<int64_t>(kLanes, rows - row));
    strip.run(weights + row * cols, count, out + static_cast<uint64_t>(row) * row_bytes);
  }
}

}  // namespace lowbit
