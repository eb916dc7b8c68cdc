// A whole matrix in a grouped format: search, then assign, group by group.
#pragma once

#include "base/thread_pool.h"
#include "quantize/search/group.h"

namespace lowbit {

/// Quantizes weights[rows * cols] (row-major, finite). importance[cols] is the mean squared activation of each input,
/// or nullptr; `grams`, of groups as wide as the format's within rows, or nullptr: see search_group(). The same for any
/// number of threads. Strided groups are not for writing: std::logic_error.
GroupMatrix quantize_groups(const GroupFormat& format, GroupSearch search, const float* weights, int64_t rows,
                            int64_t cols, const float* importance, ThreadPool& pool, const GroupGrams* grams = nullptr);

/// The codes alone, for a matrix whose scales and zeros are there.
void assign_groups(GroupMatrix& matrix, const float* weights, ThreadPool& pool);

}  // namespace lowbit
