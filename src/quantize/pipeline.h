// Carries a plan out: rows stream from the source through the quantizer into the file.
#pragma once

#include <filesystem>
#include <functional>

#include "base/thread_pool.h"
#include "container/gguf.h"
#include "quantize/plan.h"

namespace lowbit {

/// Streams the planned tensors into `writer`, whose tensors are the plan's, in order. Memory: a few rows a thread,
/// whatever the model's size. The bytes do not depend on the number of threads. Throws Error on a value that is not
/// finite and on whatever reading and writing may meet; `label` heads the progress bar. Does not call finish().
void write_tensors(const std::vector<PlannedTensor>& tensors, const TensorStore& store, TensorWriter& writer,
                   const std::string& label, ThreadPool& pool);

/// The metadata with what the plan itself decides: general.file_type, general.quantization_version.
GgufMetadata complete_metadata(GgufMetadata metadata, const Plan& plan);

/// Writes the planned GGUF file; `metadata` is everything but what the plan itself decides. `more` writes the tensors
/// that are not streamed. Returns the file's size in bytes.
uint64_t write_gguf(const Plan& plan, const ModelSource& source, GgufMetadata metadata,
                    const std::filesystem::path& path, ThreadPool& pool,
                    const std::function<void(TensorWriter&)>& more = {});

/// Decodes rows [begin, begin + count) of an output tensor, in its order of rows: out[count * cols]. Throws Error on a
/// value that is not finite.
void read_output_rows(const TensorStore& store, const OutputTensor& tensor, int64_t begin, int64_t count, float* out);

/// Decodes all of a tensor in parallel, about a megabyte of rows at a time: `task(piece, first row, rows, values)`,
/// with pieces numbered from 0 in the order of rows, the same for any number of threads. Throws as read_output_rows().
void for_row_pieces(const TensorStore& store, const OutputTensor& tensor, ThreadPool& pool,
                    const std::function<void(int64_t, int64_t, int64_t, const float*)>& task);
/// How many pieces that are.
int64_t row_pieces(const OutputTensor& tensor);

/// What a writer of these tensors needs to know.
std::vector<TensorInfo> output_infos(const std::vector<PlannedTensor>& tensors);

}  // namespace lowbit
