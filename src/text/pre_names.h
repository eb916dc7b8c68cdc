// llama.cpp's names of pre-tokenizers (tokenizer.ggml.pre), and what each stands for.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace lowbit {

/// The pre-tokenizer of a name, in tokenizer.json's form. Throws Error for a name that is not known: its text would be
/// split wrongly.
Json pre_tokenizer_named(std::string_view name);

/// The name of a pre-tokenizer description that splits alike; empty if there is none.
std::string name_of_pre_tokenizer(const Json& description);

}  // namespace lowbit
