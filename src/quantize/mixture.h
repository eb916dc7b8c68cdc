// Named mixtures ("Q4_K_M"): which encoding each tensor of a GGUF file gets, as data over (Role, layer position).
// The rules are those of llama-quantize, so that a name means the same file size everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "encoding/encoding.h"
#include "model/config.h"
#include "model/names.h"

namespace lowbit {

/// Which layers a rule speaks of; i is the layer, n the number of layers, divisions are of integers.
enum class Layers : uint8_t {
  All,
  FirstTwo,        ///< i < 2
  FirstFour,       ///< i < 4
  FirstSixteenth,  ///< i < n/16
  FirstEighth,     ///< i < n/8
  Sensitive,       ///< i < n/8, or i >= 7n/8, or each third between: where errors weigh most
};

/// What else a rule asks for.
enum class Given : uint8_t {
  Always,
  WideGroups,  ///< at least 4 query heads share a key/value head
  Importance,  ///< an importance matrix is given
  NoImportance,
};

struct MixtureRule {
  Role role;
  Layers layers;
  Given given;
  EncodingId encoding;
};

struct Mixture {
  std::string_view name;
  int file_type;                       ///< llama.cpp's number of the mixture, for general.file_type
  EncodingId base;                     ///< what a matrix gets that no rule speaks of
  EncodingId output;                   ///< the output matrix, or the token embedding where it serves as one
  std::span<const MixtureRule> rules;  ///< the first that fits wins
  std::string_view advice;             ///< one line for --help
};

std::span<const Mixture> mixtures();
/// In any letter case; nullptr if there is none.
const Mixture* find_mixture(std::string_view name);

/// What the mixture wants for a matrix of `cols` columns. A row length that the encoding cannot hold is the plan's
/// matter, except for the output matrix, for which the mixture itself has a rule (Q8_0).
EncodingId wanted_encoding(const Mixture& mixture, const ModelConfig& config, bool importance, const WeightId& id,
                           int64_t cols);

/// What a matrix gets whose rows the wanted encoding cannot hold (llama-quantize's table): a neighbour with blocks of
/// 32, and F16 where even those do not fit.
EncodingId fallback_encoding(EncodingId wanted, int64_t cols);

}  // namespace lowbit
