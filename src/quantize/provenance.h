// What a quantized model was made from, and how: kept inside the model, so that it can be told and checked later.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "container/imatrix.h"
#include "model/source.h"
#include "quantize/calibration/text.h"
#include "quantize/layerwise/layerwise.h"

namespace lowbit {

/// Where it is kept: a string of JSON in GGUF metadata, an object in config.json.
inline constexpr const char* kProvenanceKey = "quantize.lowbit.provenance";
inline constexpr const char* kProvenanceMember = "lowbit_provenance";

/// All that decides the bytes, and nothing that changes from run to run (no time, no folder). Keys: version, source,
/// source_hash (fingerprint()), scheme; `search` if given; with calibration also rounding, transform, calibration,
/// calibration_hash, samples, length, and the method's own numbers; with an importance matrix its texts, and
/// `importance_elsewhere` if it is silent on some matrices.
struct Provenance {
  std::string version;  ///< of lowbit
  std::string scheme;
  std::string search;  ///< of scales, if not the scheme's own
  std::optional<LayerwiseOptions> layerwise;
  const CalibrationTokens* calibration = nullptr;  ///< with `layerwise`
  const ImportanceMatrix* importance = nullptr;
  bool random_tokens = false;  ///< that RandomTokens weighted the search
};
Json to_json(const Provenance& provenance, const ModelSource& source);

/// What a model says of itself; null if it says nothing. Throws Error if it cannot be read.
Json read_provenance(const ModelSource& model);

}  // namespace lowbit
