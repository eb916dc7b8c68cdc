// What `quantize` takes to round from calibration inputs, for files and directories alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "quantize/calibration/text.h"
#include "quantize/layerwise/layerwise.h"

namespace lowbit {

struct RoundingOptions {
  std::string rounding;   ///< "weighted", "gptq", or empty: as the scheme's name says
  std::string transform;  ///< "none", "awq", "smoothquant", or empty: as the scheme's name says
  std::string order;      ///< of GPTQ's columns; empty: the default
  std::vector<std::string> texts;
  CalibrationOptions calibration;
  LayerwiseOptions layerwise;
  std::string max_ram;  ///< the memory that the work may take, or empty
  bool no_journal = false;
};

void add_rounding_options(CLI::App& command, RoundingOptions& options);

/// What is asked for, given what the scheme's name means. `static_activations`: the scheme rounds
/// them on scales found on calibration text. Nothing if no calibration is needed.
std::optional<LayerwiseOptions> layerwise_options(const RoundingOptions& options, bool gptq, Transform transform,
                                                  bool static_activations = false);

/// What to calibrate on.
CalibrationOptions calibration_options(const RoundingOptions& options);

/// What memory calibrated work will take, the program included, and what room on disk beside output and journal.
struct MemoryPlan {
  uint64_t in_memory = 0, spilled = 0, disk = 0;  ///< bytes; `disk`: of what goes there when it is spilled
  bool spills = false;                            ///< what was decided
};

/// The calibration tokens for a model, after telling what they are, what memory the work will need and what is amiss.
/// Decides whether hidden states go to a file beside `out`, in layerwise.spill. Throws Error if --max-ram is too
/// little.
CalibrationTokens read_calibration(const Common& common, const RoundingOptions& options, const ModelSource& source,
                                   const std::string& out, LayerwiseOptions& layerwise, MemoryPlan& memory);

/// --max-ram has nothing to decide where tensors stream: says so.
void note_uncalibrated_memory(const Common& common, const RoundingOptions& options);

/// The journal beside the output, after telling whether the work goes on where an earlier run stopped; nothing with
/// --no-journal. `plan`: all that decides the bytes beyond the model's files, the calibration and the options.
std::optional<Journal> open_journal(const Common& common, const RoundingOptions& options, const ModelSource& source,
                                    const CalibrationTokens& calibration, const LayerwiseOptions& layerwise,
                                    const std::string& out, const std::string& plan);

/// What a job will take.
struct Effort {
  std::optional<MemoryPlan> plan;  ///< of calibrated work
  uint64_t disk = 0;               ///< bytes: of the output, twice while there is a journal, and of spilled states
  // By rehearsal; 0: there was none.
  double seconds = 0;
  uint64_t memory = 0;  ///< bytes of this process at most
};
/// The disk that a job takes whose output has `bytes`.
uint64_t disk_needed(const RoundingOptions& options, const std::optional<MemoryPlan>& plan, uint64_t bytes);
void tell_effort(const Effort& effort);
void add_effort(Json& out, const Effort& effort);

}  // namespace lowbit
