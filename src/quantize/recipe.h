// Which matrix gets which encoding, as a file: one line TENSOR=TYPE for each, in the GGUF file's order. It is also what
// llama-quantize's --tensor-type-file reads.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "encoding/encoding.h"

namespace lowbit {

struct Plan;

struct Recipe {
  std::map<std::string, const Encoding*, std::less<>> types;  ///< by the tensor's name in GGUF
  std::string where;                                          ///< the file, for messages
};

/// Empty lines and those that begin with # are skipped. Throws Error with FILE:LINE for one that is no TENSOR=TYPE, for
/// an unknown type and for a tensor that is there twice.
Recipe read_recipe(const std::filesystem::path& path);
Recipe parse_recipe(std::string_view text, const std::string& where);

/// The recipe that makes this plan again.
std::string recipe_text(const Plan& plan);

}  // namespace lowbit
