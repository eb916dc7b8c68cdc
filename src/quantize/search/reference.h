// The rounding that the types of one sub-block were published with: scale from the extremes, no search.
#pragma once

#include "encoding/encoding.h"

namespace lowbit {

/// Encodes `count` weights (a multiple of the block), byte for byte as quantize_row_TYPE_ref of llama.cpp and the gguf
/// package do wherever the scale is a finite binary16; a greater one is the greatest finite binary16. The code is
/// chosen for the scale before its rounding to binary16: the rule itself is that coarse. Throws Error for a type that
/// has no such rule: k-quants and IQ4 were published with a search.
void encode_reference(const Encoding& encoding, const float* weights, int64_t count, std::byte* out);

}  // namespace lowbit
