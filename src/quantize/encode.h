// Rows of weights to bytes: search (which scale and minimum), then assign (which code), then pack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encoding/encoding.h"

namespace lowbit {

/// How block parameters are found.
enum class Search : uint8_t {
  Reference,  ///< the format's own published rule
  Weighted,   ///< least squared error, weighted by importance (or by the weights themselves where none is given)
};

/// Encodes `rows` rows of `cols` weights (a multiple of the block), row-major, to rows * encoding.bytes(cols) bytes.
/// importance[cols] >= 0 is the mean squared activation of each input channel, or nullptr. Pure, and the same bytes on
/// every machine. Values must be finite: the caller checks, because it knows the tensor's name.
void encode_rows(const Encoding& encoding, Search search, const float* weights, int64_t rows, int64_t cols,
                 const float* importance, std::byte* out);

}  // namespace lowbit
