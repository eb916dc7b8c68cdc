// The run-time layout: weights rearranged at load for the instruction set's convenience. Every encoding is lowered to
// one of a few families, and kernels exist per family, never per encoding.
//
// Rows are taken in panels of 16 and columns in tiles of 32, so that one 512-bit register holds 4 columns of 16 rows as
// bytes: a dot-product instruction then serves 16 rows with one broadcast of 4 activations. The same layout serves every
// instruction set (AVX2 works on half a register) and the portable reference.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/thread_pool.h"
#include "encoding/encoding.h"

namespace lowbit {

inline constexpr int kPanelRows = 16;
inline constexpr int kTileCols = 32;

/// A weight matrix [rows, cols] in run-time layout; y = W x. Immutable after packing.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  uint64_t bytes() const { return size_; }  ///< memory held
  const Encoding& source() const { return *source_; }

  // For kernels: see packed.cc for the byte layout of a panel.
  const std::byte* panel(int64_t index) const { return data_.get() + static_cast<uint64_t>(index) * panel_bytes_; }
  int64_t panels() const { return (rows_ + kPanelRows - 1) / kPanelRows; }

 private:
  friend PackedMatrix pack_matrix(const Encoding&, int64_t, int64_t, const std::byte*, const int64_t*, ThreadPool&);
  struct Free { void operator()(std::byte* p) const; };
  int64_t rows_ = 0, cols_ = 0;
  const Encoding* source_ = nullptr;
  uint64_t panel_bytes_ = 0, size_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

/// Lowers row-major encoded weights. `row_order` (or nullptr) gives, for each row of the result, the row of the source
/// to take: how GGUF's rotary permutation is undone for free. Throws Error for an encoding without a kernel.
PackedMatrix pack_matrix(const Encoding& encoding, int64_t rows, int64_t cols, const std::byte* data,
                         const int64_t* row_order, ThreadPool& pool);

}  // namespace lowbit
