#include "cli/rounding.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "cli/memory.h"

namespace lowbit {
namespace {

std::string human_seconds(double seconds) {
  if (seconds < 100) return fmt::format("{:.0f} s", std::max(1.0, seconds));
  return seconds < 6000 ? fmt::format("{:.0f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

/// A folder's name may end with slashes.
std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

/// The folder that holds `out`.
std::filesystem::path beside(const std::string& out) {
  const std::filesystem::path folder = std::filesystem::path(without_slashes(out)).parent_path();
  return folder.empty() ? "." : folder;
}

}  // namespace

void add_rounding_options(CLI::App& command, RoundingOptions& options) {
  command
      .add_option(
          "--rounding", options.rounding,
          "weighted: the nearest codes; gptq: codes that keep the model's answers on calibration text. Default: "
          "gptq for gptq-... schemes, else weighted")
      ->check(CLI::IsMember({"weighted", "gptq"}));
  command
      .add_option("--transform", options.transform,
                  "awq: scales found on calibration text are folded into the model before rounding; smoothquant: "
                  "outliers of the activations are; none. Default: as the scheme's name says, else none")
      ->check(CLI::IsMember({"none", "awq", "smoothquant"}));
  command
      .add_option("--calib", options.texts,
                  "Calibration text, or .jsonl of texts or conversations; default: a built-in mix")
      ->allow_extra_args(false);
  command.add_option("--samples", options.calibration.samples, "Calibration sequences; 0: all there are")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command.add_option("--length", options.calibration.length, "Tokens a sequence")
      ->check(CLI::Range(int64_t{8}, int64_t{1} << 20))
      ->capture_default_str();
  LayerwiseOptions& o = options.layerwise;
  command.add_option("--damping", o.damping, "gptq: added to the Hessian's diagonal, of its mean")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  command.add_option("--alpha", o.alpha, "gptq: how far to follow the original model's inputs, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--beta", o.beta, "gptq: how much of the residual stream's error to cancel, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--sweeps", o.sweeps, "gptq: passes of coordinate descent afterwards (GGUF encodings)")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command
      .add_option("--order", options.order,
                  "gptq: the order in which columns are rounded. stored; group-aware: groups by their inputs, and the "
                  "columns of each; static: columns by their inputs, scales found before; act: columns by their "
                  "inputs, in groups of their own (gptq-... schemes; slower to run)")
      ->check(CLI::IsMember({"stored", "group-aware", "static", "act"}));
  command
      .add_option("--migration", o.transform.migration,
                  "smoothquant: how much of the activations' range goes into the weights, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option(
      "--max-ram", options.max_ram,
      "With calibration: the memory that may be taken, such as 4GiB; where it is too little, hidden states "
      "go to a temporary file beside the output. Default: what the machine has to spare");
  command.add_flag("--no-journal", options.no_journal,
                   "With calibration: do not keep finished layers beside the output (OUT.lowbit-journal) until it is "
                   "done, from which the same command goes on after a crash");
}

std::optional<LayerwiseOptions> layerwise_options(const RoundingOptions& options, bool gptq, Transform transform,
                                                  bool static_activations) {
  LayerwiseOptions out = options.layerwise;
  out.gptq = options.rounding.empty() ? gptq : options.rounding == "gptq";
  out.transform.kind = options.transform.empty() ? transform : transform_named(options.transform);
  if (!options.order.empty()) {
    if (!out.gptq) fail("--order {}: columns are rounded in an order by GPTQ only; add --rounding gptq", options.order);
    out.order = column_order_named(options.order);
  }
  out.input_peaks = static_activations;
  if (!out.gptq && out.transform.kind == Transform::None && !out.input_peaks) return std::nullopt;
  return out;
}

CalibrationOptions calibration_options(const RoundingOptions& options) {
  CalibrationOptions out = options.calibration;
  for (const std::string& text : options.texts) out.files.emplace_back(text);
  return out;
}

CalibrationTokens read_calibration(const Common& common, const RoundingOptions& options, const ModelSource& source,
                                   const std::string& out, LayerwiseOptions& layerwise, MemoryPlan& memory) {
  CalibrationTokens tokens =
      calibration_tokens(source.config, Tokenizer(read_tokenizer(source)), calibration_options(options));
  const LayerwiseNeeds needs =
      layerwise_needs(source, static_cast<int64_t>(tokens.ids.size()), tokens.length, layerwise);
  const uint64_t now = resident_memory_bytes(), most = peak_memory_bytes();
  memory = {std::max(most, now + needs.memory), std::max(most, now + needs.spilled), needs.disk, false};
  std::string why;
  if (!options.max_ram.empty()) {
    memory.spills = memory.in_memory > parse_size(options.max_ram, "--max-ram");
    if (memory.spills) check_memory(options.max_ram, memory.spilled, "calibrated rounding");
    why = "--max-ram";
  } else if (const uint64_t available = available_memory_bytes(); needs.memory > available) {
    memory.spills = true;
    why = human_bytes(available) + " are free";
  }
  if (memory.spills) layerwise.spill = beside(out);
  if (common.quiet()) return tokens;
  if (!tokens.note.empty()) fmt::print(stderr, "note: {}\n", tokens.note);
  fmt::print(stderr, "calibrating on {} x {} tokens of {}; about {} of memory\n", tokens.samples(), tokens.length,
             tokens.description, human_bytes(memory.spills ? memory.spilled : memory.in_memory));
  if (memory.spills) {
    fmt::print(stderr, "note: hidden states go to a temporary file of {} in {}: in memory it would be {} ({})\n",
               human_bytes(memory.disk), layerwise.spill.string(), human_bytes(memory.in_memory), why);
  }
  return tokens;
}

void note_uncalibrated_memory(const Common& common, const RoundingOptions& options) {
  if (options.max_ram.empty()) return;
  parse_size(options.max_ram, "--max-ram");
  if (common.quiet()) return;
  fmt::print(stderr, "note: --max-ram is for calibrated work; this one takes a few rows at a time\n");
}

std::optional<Journal> open_journal(const Common& common, const RoundingOptions& options, const ModelSource& source,
                                    const CalibrationTokens& calibration, const LayerwiseOptions& layerwise,
                                    const std::string& out, const std::string& plan) {
  if (options.no_journal) return std::nullopt;
  const LayerwiseOptions& o = layerwise;
  Journal journal(without_slashes(out) + ".lowbit-journal",
                  fmt::format("lowbit {}\n{}{}\n{} {} {}\ntransform {} {}\ngptq {} {} {} {} {} {}\n", LOWBIT_VERSION,
                              files_key(source.path), plan, calibration.hash, calibration.samples(), calibration.length,
                              transform_name(o.transform.kind), o.transform.migration, o.gptq, o.damping, o.alpha,
                              o.beta, o.sweeps, column_order_name(o.order)));
  if (common.quiet()) return journal;
  if (journal.finished() > 0) {
    fmt::print(stderr, "going on after layer {} of {}, from {}\n", journal.finished(), source.config.layers,
               journal.folder().string());
  } else if (journal.foreign()) {
    fmt::print(stderr, "note: {} is of another job, and will be replaced\n", journal.folder().string());
  }
  return journal;
}

uint64_t disk_needed(const RoundingOptions& options, const std::optional<MemoryPlan>& plan, uint64_t bytes) {
  if (!plan) return bytes;
  return (options.no_journal ? 1 : 2) * bytes + (plan->spills ? plan->disk : 0);
}

void tell_effort(const Effort& effort) {
  if (effort.plan) {
    fmt::print("about {} of memory, or {} with {} of hidden states in a temporary file (--max-ram)\n",
               human_bytes(effort.plan->in_memory), human_bytes(effort.plan->spilled), human_bytes(effort.plan->disk));
  }
  fmt::print("about {} of disk\n", human_bytes(effort.disk));
  if (effort.seconds == 0) return;
  fmt::print("about {} on this machine as it is now, {} of memory, by rehearsal\n", human_seconds(effort.seconds),
             human_bytes(effort.memory));
}

void add_effort(Json& out, const Effort& effort) {
  out["disk_bytes"] = effort.disk;
  if (effort.plan) {
    out["memory_bytes"] = effort.plan->spills ? effort.plan->spilled : effort.plan->in_memory;
    out["memory_in_memory_bytes"] = effort.plan->in_memory;
    out["memory_spilled_bytes"] = effort.plan->spilled;
    out["spilled_bytes"] = effort.plan->disk;
    out["spills"] = effort.plan->spills;
  }
  if (effort.seconds == 0) return;
  out["seconds"] = effort.seconds;
  out["memory_bytes"] = effort.memory;
}

}  // namespace lowbit
