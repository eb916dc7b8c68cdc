// Rows of weights to bytes: search (which scale and minimum), then assign (which code), then pack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encoding/encoding.h"

namespace lowbit {

/// How block parameters are found.
enum class Search : uint8_t {
  Reference,  ///< the format's own published rule, where it has one (Q4_0 Q4_1 Q5_0 Q5_1 Q8_0); knows no importance
  Weighted,   ///< least squared error, weighted by importance (or by the weights themselves where none is given)
};

/// Encodes `rows` rows of `cols` weights (a multiple of the block), row-major, to rows * encoding.bytes(cols) bytes.
/// importance[cols] >= 0 is the mean squared activation of each input channel, or nullptr. Pure, and the same bytes on
/// every machine. Values must be finite: the caller checks, because it knows the tensor's name. Throws Error for
/// Search::Reference with a type that has no such rule.
void encode_rows(const Encoding& encoding, Search search, const float* weights, int64_t rows, int64_t cols,
                 const float* importance, std::byte* out);

}  // namespace lowbit
