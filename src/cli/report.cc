#include "cli/report.h"

#include <fmt/core.h>

#include <filesystem>
#include <optional>

#include "base/file.h"
#include "evaluate/weight_error.h"
#include "quantize/calibration/overlap.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

Json matrices_json(const std::vector<MatrixReport>& matrices) {
  Json out = Json::array();
  for (const MatrixReport& r : matrices) {
    out.push_back({{"tensor", r.tensor},
                   {"encoding", r.encoding},
                   {"relative_error", r.error},
                   {"damping", r.damping},
                   {"fell_back", r.fell_back},
                   {"seconds", r.seconds}});
  }
  return out;
}

Json weight_errors_json(const ModelSource& source, const ModelSource& made, ThreadPool& pool) {
  Json tensors = Json::array();
  for (const WeightError& t : weight_errors(source, made, pool)) {
    tensors.push_back({{"tensor", t.tensor}, {"encoding", t.encoding}, {"weight_error", t.error}});
  }
  return tensors;
}

MeasureOptions measure_options(const ReportOptions& options, const ModelSource& source) {
  MeasureOptions out;
  out.text = options.eval_text;
  out.reference = source.path.string();
  out.evaluate.chunks = options.eval_chunks;
  return out;
}

}  // namespace

void add_report_options(CLI::App& command, ReportOptions& options) {
  command.add_option("--eval", options.eval_text,
                     "Text to measure the result on, against the original: perplexity, KL divergence, same top token");
  command.add_option("--eval-chunks", options.eval_chunks, "Chunks of 512 tokens of that text; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--report", options.report,
                     "Write what became of each tensor, the figures and the provenance to this file (JSON); lowbit "
                     "verify checks the model against it");
  command.add_option("--card", options.card,
                     "Write a model card (Markdown) to this file; a directory has it as README.md anyway");
}

void check_evaluation_text(const Common& common, const ReportOptions& options, const RoundingOptions& rounding,
                           bool calibrated) {
  if (options.eval_text.empty()) return;
  const std::string text = read_text_file(options.eval_text);
  if (!calibrated || common.quiet()) return;
  const std::string warning = overlap_warning(overlap(calibration_text(calibration_options(rounding)), text));
  if (!warning.empty()) fmt::print(stderr, "warning: {}: {}\n", options.eval_text, warning);
}

void tell_job(const Common& common, const ReportOptions& options, const ModelSource& source, const FinishedJob& job,
              ThreadPool& pool) {
  for (const MatrixReport& r : job.matrices) {
    if (r.fell_back && !common.quiet()) {
      fmt::print(stderr, "note: {} was rounded to the nearest codes: GPTQ could not be used\n", r.tensor);
    }
  }
  Json report = {{"bytes", job.bytes},
                 {"bits_per_weight", job.bits_per_weight},
                 {"fallbacks", job.fallbacks},
                 {"provenance", job.provenance}};
  report.update(job.more);
  std::optional<Measurement> measured;
  if (!options.eval_text.empty()) {
    const MeasureOptions how = measure_options(options, source);
    measured = measure(job.out, how, pool);
    report["evaluation"] = to_json(*measured, how);
    report["evaluation"]["text"] = fs::path(options.eval_text).filename().string();
  }
  const std::string card = model_card(report);
  if (fs::is_directory(job.out)) write_text_file(fs::path(job.out) / "README.md", card);
  if (!options.card.empty()) write_text_file(options.card, card);
  report["seconds"] = job.seconds;
  report["peak_memory_bytes"] = job.memory;
  if (!options.report.empty()) {
    Json full = report;
    full["output"] = job.out;
    const ModelSource made = open_model(job.out);
    for (const fs::path& file : made.store->files()) {
      full["files"][file.filename().string()] = file_hash(file.string());
    }
    if (!job.folded) full["tensors"] = weight_errors_json(source, made, pool);
    if (!job.matrices.empty()) full["matrices"] = matrices_json(job.matrices);
    write_text_file(options.report, full.dump(2) + "\n");
  }
  if (common.json) return print_json(report);
  fmt::print("{}: {}, {:.3f} bits per weight; {:.1f} s, {} of memory at most\n", job.out, human_bytes(job.bytes),
             job.bits_per_weight, job.seconds, human_bytes(job.memory));
  if (measured) print_evaluation(measured->evaluation);
}

}  // namespace lowbit
