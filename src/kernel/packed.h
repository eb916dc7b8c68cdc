// The run-time layout: weights rearranged at load for the instruction set's convenience. Every encoding is lowered to
// one of a few families, and kernels exist per family, never per encoding. layout.h has the bytes.
//
// Rows are taken in panels of 16 and columns in tiles of 32, so that one 512-bit register holds 4 columns of 16 rows as
// bytes: a dot-product instruction then serves 16 rows with one broadcast of 4 activations. The same layout serves
// every instruction set (AVX2 works on half a register) and the portable reference.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "encoding/encoding.h"
#include "kernel/layout.h"

namespace lowbit {

/// A weight matrix [rows, cols] in run-time layout; y = W x. Immutable after packing.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  int64_t rows() const { return view_.rows; }
  int64_t cols() const { return view_.cols; }
  uint64_t bytes() const { return static_cast<uint64_t>(panels()) * view_.panel_bytes; }  ///< memory held
  const Encoding& source() const { return *source_; }
  int64_t panels() const { return (view_.rows + kPanelRows - 1) / kPanelRows; }
  const PackedView& view() const { return view_; }

 private:
  friend PackedMatrix pack_matrix(const Encoding&, int64_t, int64_t, const std::byte*, const int64_t*, ThreadPool&);
  struct Free {
    void operator()(uint8_t* p) const;
  };
  PackedView view_{};
  const Encoding* source_ = nullptr;
  std::unique_ptr<uint8_t, Free> data_;
};

/// Whether pack_matrix takes this encoding.
bool has_kernel(const Encoding& encoding);

/// Lowers row-major encoded weights: `rows` rows of encoding.bytes(cols) bytes. `row_order` (or nullptr) gives, for
/// each row of the result, the row of the source to take: how GGUF's rotary permutation is undone for free. Throws
/// Error for an encoding without a kernel, for cols that are no multiple of its block, and when memory is short.
PackedMatrix pack_matrix(const Encoding& encoding, int64_t rows, int64_t cols, const std::byte* data,
                         const int64_t* row_order, ThreadPool& pool);

/// The weights as the kernels take them, row-major binary32 [rows, cols]: equal to decode()'s. For tests.
std::vector<float> unpack_matrix(const PackedMatrix& matrix);

}  // namespace lowbit
