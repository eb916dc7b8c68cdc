// The metadata of a GGUF file made from a model: shape, tokenizer, names.
#pragma once

#include "model/source.h"

namespace lowbit {

/// Everything that llama.cpp's converter writes but general.file_type and general.quantization_version, which depend on
/// the weights' encodings. Of a GGUF source: its own metadata, the keys of split files left out.
/// (docs/gguf-metadata.md)
GgufMetadata gguf_metadata(const ModelSource& source);

}  // namespace lowbit
