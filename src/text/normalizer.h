// Normalizers of tokenizer.json: what happens to the text before it is cut.
// (Semantics: the `tokenizers` library, src/normalizers/.)
#pragma once

#include <functional>
#include <string>

#include "base/json.h"

namespace lowbit {

/// UTF-8 in, UTF-8 out.
using Normalizer = std::function<std::string(std::string)>;

/// The longest text that steps of a hostile tokenizer may make of `given` bytes; honest ones stay far below.
size_t most_text(size_t given);

/// From the "normalizer" of a tokenizer.json; null (JSON) gives an empty function: the text stays as it is. Throws
/// Error, opened by `where`, for types and options that lowbit does not reproduce.
Normalizer make_normalizer(const Json& json, const std::string& where);

}  // namespace lowbit
