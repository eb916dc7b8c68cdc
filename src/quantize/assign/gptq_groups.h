// GPTQ on the grids of grouped formats.
#pragma once

#include "base/thread_pool.h"
#include "quantize/assign/gptq.h"
#include "quantize/quantize_groups.h"

namespace lowbit {

/// Whether rows of `cols` weights can be rounded column by column in this format: groups lie within rows, and levels
/// ascend (FP4's do not).
bool has_gptq_grid(const GroupFormat& format, int64_t cols);

/// Columns of a row that share parameters.
int64_t group_columns(const GroupFormat& format, int64_t cols);

/// As quantize_groups(), by GPTQ. A group's parameters are searched on what the columns before it left of its weights;
/// those of doubly quantized scales, which the whole tensor shares, on the weights as given. Where groups follow the
/// order of rounding (Row only) the result says which column is of which. The same for any number of threads.
/// Precondition: has_gptq_grid().
GroupMatrix quantize_groups_gptq(const GroupFormat& format, GroupSearch search, const float* weights, int64_t rows,
                                 const GptqProblem& problem, ThreadPool& pool);

}  // namespace lowbit
