// What a model was made from, as one line.
#pragma once

#include <string>

#include "container/tensor_store.h"

namespace lowbit {

/// Recognises a model by its tensors: XXH3-128 over the name, shape, type and 16 pieces of 4 KiB, evenly spread, of
/// each tensor, in the order of names. Constant work a tensor, whatever its size: a fine-tune or another checkpoint
/// changes it; a few changed bytes in between need not. "xxh3-sampled:" and 32 hexadecimal digits.
std::string fingerprint(const TensorStore& store);

}  // namespace lowbit
