// Single columns of a packed matrix, for inputs that are multiplied as they are.
#pragma once

#include <span>

#include "kernel/packed.h"

namespace lowbit {

/// Whether add_columns() reads this matrix: 8-bit codes without minima.
bool has_columns(const PackedMatrix& w);

/// out[r] += sum_i W[r, columns[i]] x[i] for the rows of panels [begin, end), in binary32, i ascending.
/// Precondition: has_columns(w).
void add_columns(const PackedMatrix& w, int64_t begin, int64_t end, std::span<const int32_t> columns, const float* x,
                 float* out);

}  // namespace lowbit
