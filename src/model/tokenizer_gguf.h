// Tokenizers in GGUF metadata: the keys tokenizer.ggml.* and tokenizer.chat_template, as llama.cpp's converter writes
// them.
#pragma once

#include "container/gguf.h"
#include "text/tokenizer.h"

namespace lowbit {

/// Throws Error for a pre-tokenizer that llama.cpp has no name for: it would read the text differently.
void tokenizer_to_gguf(const TokenizerData& data, GgufMetadata& out);
/// Throws Error naming the key that is missing or wrong.
TokenizerData tokenizer_from_gguf(const GgufMetadata& metadata);

}  // namespace lowbit
