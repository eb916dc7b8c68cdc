// What `quantize` tells of its work beyond one line: the report (JSON), the model card (Markdown), the evaluation.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/measure.h"
#include "cli/rounding.h"
#include "model/source.h"

namespace lowbit {

struct ReportOptions {
  std::string report, card;  ///< files to write
  std::string eval_text;     ///< file
  int64_t eval_chunks = 40;
};

void add_report_options(CLI::App& command, ReportOptions& options);

/// A finished job.
struct FinishedJob {
  std::string out;  ///< file or directory
  uint64_t bytes;
  double bits_per_weight;
  double seconds;
  uint64_t memory;  ///< bytes, at most
  Json provenance;
  Json fallbacks;
  Json more = Json::object();            ///< what else --json tells
  std::vector<MatrixReport> matrices{};  ///< if calibrated
  bool folded = false;                   ///< a transform changed the weights
};

/// Before the work: warns where the text to evaluate on was calibrated on. Throws Error if it cannot be read.
void check_evaluation_text(const Common& common, const ReportOptions& options, const RoundingOptions& rounding,
                           bool calibrated);

/// After it: measures what is asked for, tells it, and writes report and card.
void tell_job(const Common& common, const ReportOptions& options, const ModelSource& source, const FinishedJob& job,
              ThreadPool& pool);

/// The model card of a quantized model: what it is, what was lost and how it was made. `report` is
/// tell_job()'s, as far as it goes: without time and memory in what is written unasked.
std::string model_card(const Json& report);

}  // namespace lowbit
