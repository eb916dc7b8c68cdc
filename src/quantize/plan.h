// What will be done to each tensor, decided before any work: every refusal and every fallback is known here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "container/imatrix.h"
#include "model/layout.h"
#include "quantize/encode.h"
#include "quantize/mixture.h"
#include "quantize/recipe.h"

namespace lowbit {

struct PlanOptions {
  const Mixture* mixture = nullptr;     ///< may be absent where a recipe speaks of every matrix
  bool pure = false;                    ///< every matrix gets the mixture's base encoding
  bool strict = false;                  ///< a row length that the wanted encoding cannot hold is an Error
  bool allow_requantize = false;        ///< take an already quantized source
  const Encoding* output = nullptr;     ///< for the output matrix (or the tied embedding), if given
  const Encoding* embedding = nullptr;  ///< for the token embedding, if given
  /// A regular expression (ECMAScript, matched anywhere in the GGUF name) and the encoding of the tensors it matches;
  /// the first match wins.
  std::vector<std::pair<std::string, const Encoding*>> overrides;
  const Recipe* recipe = nullptr;                ///< for the matrices that it names, if given; overrides go before it
  const ImportanceMatrix* importance = nullptr;  ///< from calibration, if given
  bool layerwise = false;  ///< matrices of layers will be rounded layer by layer (layerwise.h), from calibration inputs
  bool transformed = false;  ///< with scales folded into them and into norms: layerwise.h stores all of these
};

struct PlannedTensor {
  OutputTensor tensor;
  const Encoding* wanted = nullptr;    ///< what the mixture or an override asks for
  const Encoding* encoding = nullptr;  ///< what it gets; another one where the row length forces it
  std::vector<float> importance;       ///< mean squared activation per input channel; empty if unknown
  uint64_t bytes = 0;
  bool recode = false;     ///< the source's blocks in another encoding's form, without rounding: see encoding/recode.h
  bool layerwise = false;  ///< not streamed: layerwise.h writes it
  bool fixed = false;      ///< the encoding is an override's, not the mixture's or the recipe's

  bool fell_back() const { return encoding != wanted; }
};

struct Plan {
  const Mixture* mixture = nullptr;  ///< without one in the options, that whose base most weights of layers have
  std::vector<PlannedTensor> tensors;
  int64_t parameters = 0;
  uint64_t bytes = 0;              ///< of all tensors as stored
  int64_t without_importance = 0;  ///< matrices of layers that the importance matrix given is silent on

  double bits_per_weight() const { return 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters); }
};

/// Throws Error for whatever would make the work fail or mislead: a quantized source, a bad pattern, an override that
/// matches nothing, statistics or a recipe of another model.
Plan make_plan(const ModelSource& source, const PlanOptions& options);

}  // namespace lowbit
