// What every container's reader asks of names, shapes and files that come from strangers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "container/tensor_store.h"

namespace lowbit {

/// A name from a file as a one-line message can show it: bytes that are not printable UTF-8 escaped, long names cut.
std::string shown(std::string_view name);

/// Throws Error unless `name` is non-empty, valid UTF-8 and free of control characters. `what` says whose name it is.
void check_name(std::string_view name, std::string_view what, std::string_view where);

/// Stored bytes of tensor.shape in tensor.encoding. Throws Error on a negative dimension, on a row that is no whole
/// number of blocks, and where the count of elements or bytes exceeds 2^63 - 1.
uint64_t checked_bytes(const TensorInfo& tensor, std::string_view where);

/// Throws the Error for a file that does not begin as `format` does, saying what it seems to be instead.
[[noreturn]] void fail_wrong_format(std::span<const std::byte> file, std::string_view format, std::string_view where);

}  // namespace lowbit
