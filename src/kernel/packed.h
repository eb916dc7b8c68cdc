// The run-time layout: weights rearranged at load for the instruction set's convenience. Every encoding is lowered to
// one of a few families, and kernels exist per family, never per encoding. layout.h has the bytes.
//
// Rows are taken in panels of 16 and columns in tiles of 32, so that one 512-bit register holds 4 columns of 16 rows as
// bytes: a dot-product instruction then serves 16 rows with one broadcast of 4 activations. The same layout serves
// every instruction set (AVX2 works on half a register) and the portable reference.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "encoding/encoding.h"
#include "kernel/layout.h"

namespace lowbit {

/// Fills `out` with the bytes of panels [begin, end) of a matrix that was packed before.
using ReadPanels = std::function<void(int64_t begin, int64_t end, std::span<std::byte> out)>;

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
  /// The bytes of panels [begin, end).
  std::span<const std::byte> panel_bytes(int64_t begin, int64_t end) const;

 private:
  friend PackedMatrix pack_matrix(const Encoding&, int64_t, int64_t, const std::byte*, const int64_t*, ThreadPool&);
  friend PackedMatrix read_matrix(const Encoding&, int64_t, int64_t, int, const ReadPanels&, ThreadPool&);
  friend uint64_t packed_bytes(const Encoding&, int64_t, int64_t, int64_t);
  /// The matrix without its memory, and with memory that is not written yet.
  static PackedMatrix of_shape(const Encoding& encoding, int64_t rows, int64_t cols, int shared);
  static PackedMatrix with_memory(const Encoding& encoding, int64_t rows, int64_t cols, int shared);
  uint8_t* panel(int64_t i) { return data_.get() + static_cast<uint64_t>(i) * view_.panel_bytes; }

  struct Free {
    void operator()(uint8_t* p) const;
  };
  PackedView view_{};
  const Encoding* source_ = nullptr;
  std::unique_ptr<uint8_t, Free> data_;
};

/// What pack_matrix lowers this encoding to; nullopt if there is no kernel for it.
std::optional<Family> family_of(const Encoding& encoding);

/// Lowers row-major encoded weights: `rows` rows of encoding.bytes(cols) bytes. `row_order` (or nullptr) gives, for
/// each row of the result, the row of the source to take: how GGUF's rotary permutation is undone for free. Throws
/// Error for an encoding without a kernel, for cols that are no multiple of its block, and when memory is short.
PackedMatrix pack_matrix(const Encoding& encoding, int64_t rows, int64_t cols, const std::byte* data,
                         const int64_t* row_order, ThreadPool& pool);

/// Panels of this size that are kept and read at once: some megabytes.
int64_t panels_together(uint64_t panel_bytes);

/// Memory that a packed matrix of that encoding and shape holds, if `group` neighbours in a row share a scale (0: not
/// known). Throws as pack_matrix.
uint64_t packed_bytes(const Encoding& encoding, int64_t rows, int64_t cols, int64_t group = 0);

/// A matrix that pack_matrix made of the same encoding and shape, with that `shared` of its view, from the bytes that
/// it had: `read` is called for each panels_together(), from several threads. Kernels stay within bounds whatever the
/// bytes are. Throws as pack_matrix, and for a `shared` that cannot be.
PackedMatrix read_matrix(const Encoding& encoding, int64_t rows, int64_t cols, int shared, const ReadPanels& read,
                         ThreadPool& pool);

/// The weights as the kernels take them, row-major binary32 [rows, cols]: equal to decode()'s. For tests.
std::vector<float> unpack_matrix(const PackedMatrix& matrix);

}  // namespace lowbit
