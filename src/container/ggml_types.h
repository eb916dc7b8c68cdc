// The numbers by which GGUF files name tensor types. (Specification: ggml/include/ggml.h, enum ggml_type.)
#pragma once

#include <cstdint>
#include <string>

#include "encoding/encoding.h"

namespace lowbit {

/// ggml's number of a tensor type (-1: GGUF has none), and back (nullptr: a type that lowbit does not know).
int ggml_type(const Encoding& encoding);
const Encoding* encoding_of_ggml_type(uint32_t type);
/// ggml's name of a tensor type for messages, known to lowbit or not.
std::string ggml_type_name(uint32_t type);

}  // namespace lowbit
