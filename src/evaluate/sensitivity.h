// How much it costs a model to store one of its matrices in fewer bits: what mixed precision is decided by.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "quantize/calibration/text.h"
#include "quantize/plan.h"

namespace lowbit {

/// A matrix quantized alone, with relative error e, moves the model's answers by a KL divergence of about gain * e:
/// divergence is quadratic in a small change of the weights, and so is e.
struct MatrixSensitivity {
  std::string tensor;  ///< GGUF name
  double gain = 0;     ///< mean KL divergence, in nats, for each unit of relative error
  /// ||(W - Q) X||^2 / ||W X||^2 of each encoding, channels of the inputs X taken as uncorrelated.
  std::vector<std::pair<const Encoding*, double>> errors;

  double error(const Encoding& encoding) const;  ///< throws Error if it was not measured
  double predicted_kld(const Encoding& encoding) const { return gain * error(encoding); }
};

struct Sensitivity {
  std::string measured_on;  ///< hash of all that the figures depend on: model, text, importance, encodings
  std::vector<MatrixSensitivity> matrices;  ///< in the plan's order
};

/// What a measurement looks at: sequences of kSensitivityLength tokens, one after another.
struct SensitivityText {
  std::vector<int32_t> probes;  ///< whose answers are compared: the second half of each sequence
  std::vector<int32_t> inputs;  ///< more, for the channels' second moments
};
inline constexpr int64_t kSensitivityLength = 128;
/// A few samples of the texts of `calibration`, whose samples and length do not matter.
SensitivityText sensitivity_text(const ModelConfig& model, const Tokenizer& tokenizer,
                                 const CalibrationOptions& calibration);

/// What a measurement needs.
struct SensitivityRequest {
  const ModelSource& source;
  const Plan& plan;  ///< its matrices, with the importance that their scales will be searched with
  std::vector<const Encoding*> candidates;
  SensitivityText text;
  bool gptq = false;  ///< matrices of layers will be rounded by GPTQ
};

/// Encodings that mixed precision draws from unless it is told otherwise; for rows of `cols` weights, those of a list
/// that can hold them.
std::vector<const Encoding*> default_candidates();
std::vector<const Encoding*> candidates_for(const std::vector<const Encoding*>& candidates, int64_t cols);

/// Measures the gain of each matrix: the KL divergence of the model's answers on a few calibration sequences when that
/// matrix alone is stored at about 3 bits. The model passes once, layer by layer; changed models start from the hidden
/// states that the original one has at the changed layer. Of a large model only some layers are measured, and what lies
/// between is interpolated. The same for any number of threads.
Sensitivity measure_sensitivity(const SensitivityRequest& request, ThreadPool& pool);
/// Sensitivity::measured_on of this request.
std::string sensitivity_key(const SensitivityRequest& request);
/// Memory that measuring needs at most beyond the program itself, in bytes.
uint64_t sensitivity_memory(const SensitivityRequest& request, int threads);

/// As a file (JSON). Reading throws Error if the file is unsound or was measured on something else than `key`.
void write_sensitivity(const std::filesystem::path& path, const Sensitivity& sensitivity);
Sensitivity read_sensitivity(const std::filesystem::path& path, const std::string& key);

}  // namespace lowbit
