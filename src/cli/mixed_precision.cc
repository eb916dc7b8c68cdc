#include "cli/mixed_precision.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/signals.h"
#include "cli/memory.h"
#include "evaluate/perplexity.h"
#include "quantize/calibration/held_out.h"

namespace lowbit {
namespace {

constexpr int64_t kHeldOutSamples = 24;
constexpr int64_t kHeldOutLength = 512;

std::vector<const Encoding*> candidates(const MixedOptions& options) {
  if (options.types.empty()) return default_candidates();
  std::vector<const Encoding*> out;
  for (const std::string& name : CLI::detail::split(options.types, ',')) {
    const Encoding* found = find_file_encoding(name);
    if (found == nullptr) {
      fail("--types {}: {} is no type; write them like Q3_K,Q4_K,Q6_K", options.types, name);
    }
    out.push_back(found);
  }
  return out;
}

Sensitivity sensitivity_of(const Common& common, const MixedOptions& options, const RoundingOptions& rounding,
                           const SensitivityRequest& request, ThreadPool& pool) {
  if (!options.sensitivity.empty() && std::filesystem::exists(options.sensitivity)) {
    return read_sensitivity(options.sensitivity, sensitivity_key(request));
  }
  const uint64_t memory = resident_memory_bytes() + sensitivity_memory(request, pool.size());
  check_memory(rounding.max_ram, memory, "measuring how much each matrix matters");
  if (!common.quiet()) {
    fmt::print(stderr, "measuring how much each matrix matters; about {} of memory\n",
               human_bytes(std::max(memory, peak_memory_bytes())));
  }
  Sensitivity out = measure_sensitivity(request, pool);
  if (!options.sensitivity.empty()) write_sensitivity(options.sensitivity, out);
  return out;
}

/// With --max-kld the original and each attempt are run side by side, both in memory.
void tell_trials(const Common& common, const RoundingOptions& rounding, const ModelSource& source, uint64_t largest) {
  uint64_t original = 0;
  for (const TensorInfo& t : source.store->tensors()) original += t.bytes;
  const uint64_t memory = resident_memory_bytes() + original + largest;
  check_memory(rounding.max_ram, memory, "measuring attempts for --max-kld");
  if (common.quiet()) return;
  fmt::print(stderr, "measuring attempts beside the original; up to {} of memory\n", human_bytes(memory));
}

/// A file that is gone when its maker is, or when the program is interrupted.
class TrialFile {
 public:
  explicit TrialFile(const std::string& out) : path_(out + ".trial.gguf"), note_(SignalNote::temporary(path_)) {}
  ~TrialFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    note_->release();
  }
  TrialFile(const TrialFile&) = delete;
  TrialFile& operator=(const TrialFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  SignalNote* const note_;
};

}  // namespace

void add_mixed_options(CLI::App& command, MixedOptions& options) {
  CLI::Option* size = command.add_option("--target-size", options.target_size,
                                         "In place of a scheme: the best file of at most this size, such as 7.5GiB");
  CLI::Option* bpw = command.add_option("--target-bpw", options.target_bpw, "The same, in bits per weight")
                         ->check(CLI::Range(0.1, 32.0));
  CLI::Option* kld = command
                         .add_option("--max-kld", options.max_kld,
                                     "The smallest file whose mean KL divergence from the original is at most this, "
                                     "measured on text held out of calibration")
                         ->check(CLI::Range(1e-6, 100.0));
  size->excludes(bpw)->excludes(kld);
  bpw->excludes(kld);
  command.add_option("--types", options.types, "Types to choose from, such as Q3_K,Q4_K,Q6_K; default: all");
  command.add_option("--sensitivity", options.sensitivity,
                     "Keep what was measured in this file, and take it from there the next time");
  CLI::Option* recipe =
      command.add_option("--recipe", options.recipe, "In place of a scheme, or beside it: a file of lines TENSOR=TYPE");
  command.add_option("--recipe-out", options.recipe_out, "Write the types chosen to a file that --recipe takes");
  for (CLI::Option* target : {size, bpw, kld}) recipe->excludes(target);
}

MixedResult choose_types(const Common& common, const MixedOptions& mixed, const RoundingOptions& rounding,
                         const ModelSource& source, const Plan& plan, const GgufMetadata& metadata,
                         const std::vector<int32_t>& calibrated, const std::string& out, ThreadPool& pool,
                         const std::function<void(const Recipe&, const std::string&)>& write) {
  CalibrationOptions text = calibration_options(rounding);
  const std::vector<const Encoding*> types = candidates(mixed);
  const Tokenizer tokenizer(read_tokenizer(source));
  const std::optional<LayerwiseOptions> layerwise = layerwise_options(rounding, false, Transform::None);
  const SensitivityRequest request{source, plan, types, sensitivity_text(source.config, tokenizer, text),
                                   layerwise && layerwise->gptq};
  const Sensitivity sensitivity = sensitivity_of(common, mixed, rounding, request, pool);
  const MixedPrecision precision(plan, sensitivity, types, metadata);
  if (!mixed.target_size.empty()) {
    return {precision.within_size(parse_size(mixed.target_size, "--target-size")), {}};
  }
  if (mixed.target_bpw > 0) return {precision.within_bits_per_weight(mixed.target_bpw), {}};
  if (!write) return {precision.within_kld(mixed.max_kld), {}};

  text.length = std::min(kHeldOutLength, source.config.context);
  text.samples = kHeldOutSamples;
  const std::vector<std::vector<int32_t>> used = {calibrated, request.text.probes, request.text.inputs};
  const CalibrationTokens held_out = held_out_tokens(source.config, tokenizer, text, used);
  if (!held_out.note.empty() && !common.quiet()) fmt::print(stderr, "note: {}\n", held_out.note);
  tell_trials(common, rounding, source, precision.largest());
  const TrialFile trial(out);
  MixedResult result;
  result.plan = within_measured_kld(precision, mixed.max_kld, [&](const MixedPlan& attempt) {
    write(attempt.recipe, trial.path());  // may take all the memory there is: the models come after it
    Transformer reference(source, pool);
    const EvaluatedModel reference_view{reference, tokenizer, source.path.string()};
    const ModelSource quantized = open_model(trial.path());
    Transformer model(quantized, pool);
    const EvaluatedModel view{model, tokenizer, trial.path()};
    EvaluateOptions evaluation;
    evaluation.context = held_out.length;
    const Estimate kld = evaluate(view, &reference_view, held_out.ids, evaluation).divergence->mean_kld;
    if (!common.quiet()) {
      fmt::print(stderr, "{}: predicted KL divergence {:.4f}, measured {:.4f}\n", human_bytes(attempt.bytes),
                 attempt.predicted_kld, kld.value);
    }
    if (kld.value > mixed.max_kld) return kld.value;
    std::filesystem::rename(trial.path(), out);
    result.measured_kld = kld;
    return kld.value;
  });
  return result;
}

std::string types_table(const Plan& plan) {
  struct Row {
    uint64_t weights = 0, bytes = 0;
    std::map<EncodingId, int> types;
  };
  std::vector<std::pair<std::string, Row>> rows;
  for (const PlannedTensor& t : plan.tensors) {
    if (!is_matrix(t.tensor.id)) continue;
    std::string kind = t.tensor.name.substr(0, t.tensor.name.rfind('.'));
    if (t.tensor.id.layer >= 0) kind = kind.substr(kind.rfind('.') + 1);
    auto row = std::ranges::find(rows, kind, &std::pair<std::string, Row>::first);
    if (row == rows.end()) row = rows.insert(rows.end(), {kind, {}});
    row->second.weights += static_cast<uint64_t>(t.tensor.elements());
    row->second.bytes += t.bytes;
    ++row->second.types[t.encoding->id];
  }
  std::string out;
  for (const auto& [kind, row] : rows) {
    std::string types;
    for (const auto& [id, count] : row.types) {
      types += fmt::format("{}{} {}", types.empty() ? "" : ", ", encoding(id).name, count);
    }
    out += fmt::format("  {:<12} {:>9.1f} M weights {:>7.3f} bits   {}\n", kind, static_cast<double>(row.weights) / 1e6,
                       8.0 * static_cast<double>(row.bytes) / static_cast<double>(row.weights), types);
  }
  return out;
}

}  // namespace lowbit
