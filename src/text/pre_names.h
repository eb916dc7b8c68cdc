// GGUF's names of pre-tokenizers ("tokenizer.ggml.pre"): what each does, and which one a tokenizer.json means.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace lowbit {

/// What a GGUF with this name means beyond the cuts.
struct PreTokenizerFacts {
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
};

/// The pre-tokenizer as tokenizer.json would have it. Throws Error for a name that lowbit does not know.
Json pre_tokenizer_of_name(std::string_view name);
PreTokenizerFacts pre_tokenizer_facts(std::string_view name);

/// The name whose pre-tokenizer cuts as `pre_tokenizer` of a tokenizer.json does, found by its structure; empty if
/// llama.cpp has none.
std::string name_of_pre_tokenizer(const Json& pre_tokenizer, bool ignore_merges);

}  // namespace lowbit
