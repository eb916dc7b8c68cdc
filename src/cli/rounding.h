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
  std::string order;      ///< of GPTQ's columns; empty: the default
  std::vector<std::string> texts;
  CalibrationOptions calibration;
  LayerwiseOptions layerwise;
  bool no_journal = false;
};

void add_rounding_options(CLI::App& command, RoundingOptions& options);

/// What is asked for, given what the scheme's name means. `always`: the scheme cannot do without
/// calibration. Nothing if none is needed.
std::optional<LayerwiseOptions> layerwise_options(const RoundingOptions& options, bool gptq, Transform transform,
                                                  bool always = false);

/// What to calibrate on.
CalibrationOptions calibration_options(const RoundingOptions& options);

/// The calibration tokens for a model, after telling what they are, what memory the work will need and what is amiss.
CalibrationTokens read_calibration(const Common& common, const RoundingOptions& options, const ModelSource& source,
                                   const LayerwiseOptions& layerwise);

/// The journal beside the output, after telling whether the work goes on where an earlier run stopped; nothing with
/// --no-journal. `plan`: all that decides the bytes beyond the model's files, the calibration and the options.
std::optional<Journal> open_journal(const Common& common, const RoundingOptions& options, const ModelSource& source,
                                    const CalibrationTokens& calibration, const LayerwiseOptions& layerwise,
                                    const std::string& out, const std::string& plan);

/// What a job will take, by rehearsal.
struct Effort {
  double seconds;
  uint64_t memory, disk;  ///< bytes: of this process at most; of the output, twice while there is a journal
};
void tell_effort(const std::optional<Effort>& effort);
void add_effort(Json& out, const std::optional<Effort>& effort);

}  // namespace lowbit
