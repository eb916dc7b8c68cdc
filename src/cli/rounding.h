// What `quantize` takes to round from calibration inputs, for files and directories alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "quantize/calibration_text.h"
#include "quantize/layerwise.h"

namespace lowbit {

struct RoundingOptions {
  std::string rounding;   ///< "weighted", "gptq", or empty: as the scheme's name says
  std::string transform;  ///< "none", "awq", "smoothquant", or empty: as the scheme's name says
  std::vector<std::string> texts;
  CalibrationOptions calibration;
  LayerwiseOptions layerwise;
  std::string report;
};

void add_rounding_options(CLI::App& command, RoundingOptions& options);

/// What is asked for, given what the scheme's name means. Nothing if no calibration is needed.
std::optional<LayerwiseOptions> layerwise_options(const RoundingOptions& options, bool gptq, Transform transform);

/// The calibration tokens for a model, after telling what they are, what memory the work will need and what is amiss.
CalibrationTokens read_calibration(const Common& common, const RoundingOptions& options, const ModelSource& source);

/// What became of the matrices: on standard error what the user should know, and all of it to the report's file.
void tell_reports(const Common& common, const RoundingOptions& options, const CalibrationTokens& calibration,
                  const std::vector<MatrixReport>& reports);

}  // namespace lowbit
