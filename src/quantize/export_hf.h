// A model back into a Hugging Face directory.
#pragma once

#include <filesystem>

#include "base/thread_pool.h"
#include "model/source.h"

namespace lowbit {

/// config.json for a source of either container. Throws Error for a model whose config cannot be told from the source.
Json hf_config_of(const ModelSource& source);

/// Writes config.json, generation_config.json, the tokenizer and model.safetensors (or shards) into `folder`, which is
/// made if absent. Matrices are stored as `type` (F32, F16 or BF16); nullptr: as the source has them if it has floats,
/// otherwise F16, which holds what quantized blocks decode to but for rounding beyond its 11 bits. config.json is
/// written last: a folder without it is unfinished. Returns the bytes of the tensors. Throws Error for a model whose
/// config cannot be told from the source.
uint64_t export_hf(const ModelSource& source, const std::filesystem::path& folder, const Encoding* type,
                   ThreadPool& pool);

}  // namespace lowbit
