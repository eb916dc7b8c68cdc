// The headers of safetensors files and of their index, from text to structure. Apart from the store, so that they can
// be fuzzed.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "container/tensor_store.h"

namespace lowbit {

struct SafetensorsEntry {
  TensorInfo info;
  uint64_t offset = 0;  ///< of its first byte in the file; the whole tensor is inside the file
};

/// Parses one .safetensors file. `file` is the whole file (or a mapping of it); only the header is touched. The tensors
/// come in the header's order; together they cover the file's data exactly once, as the format's own reader demands.
/// Work and memory are bounded by a small multiple of the file's size. Throws Error for anything unsound.
std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> file, const std::string& where);

/// The weight_map of a model.safetensors.index.json: tensor name -> file name. Throws Error for bad JSON, and for file
/// names that lead out of the folder.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text, const std::string& where);

/// The header of a file that holds `tensors` at `offsets` of its data, with the length in front, padded to 8 bytes.
std::string write_safetensors_header(const std::vector<TensorInfo>& tensors, const std::vector<uint64_t>& offsets);

/// safetensors' name of an encoding, empty if it has none.
std::string_view safetensors_dtype(const Encoding& encoding);

}  // namespace lowbit
