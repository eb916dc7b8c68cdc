#include "cli/quantize_directory.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <chrono>
#include <map>

#include "base/error.h"
#include "quantize/directory.h"
#include "quantize/layerwise/rehearsal.h"
#include "quantize/provenance.h"

namespace lowbit {
namespace {

Json fallbacks_json(const DirectoryPlan& plan, const GroupScheme& scheme) {
  Json out = Json::array();
  for (const DirectoryTensor& t : plan.tensors) {
    if (t.refusal.empty()) continue;
    out.push_back({{"tensor", t.tensor.name},
                   {"wanted", scheme.name},
                   {"stored", t.dense->name},
                   {"row_length", t.cols()},
                   {"why", t.refusal}});
  }
  return out;
}

void tell_notes(const DirectoryPlan& plan) {
  std::map<std::string, int> refusals;
  for (const DirectoryTensor& t : plan.tensors) {
    if (!t.refusal.empty()) ++refusals[t.refusal];
  }
  for (const auto& [why, count] : refusals) fmt::print(stderr, "note: {} matrices stay dense: {}\n", count, why);
}

std::string stored_text(const DirectoryTensor& t, const GroupScheme& scheme) {
  return t.quantized ? scheme.name : std::string(t.dense->name);
}

/// What calibrated work starts from.
struct Calibrated {
  LayerwiseOptions options;
  CalibrationTokens tokens;
  MemoryPlan memory;
};

std::optional<Calibrated> calibrate(const Common& common, const DirectoryRequest& request, const ModelSource& source,
                                    const std::optional<LayerwiseOptions>& options) {
  if (!options) {
    note_uncalibrated_memory(common, request.rounding);
    return std::nullopt;
  }
  Calibrated out{*options, {}, {}};
  out.tokens = read_calibration(common, request.rounding, source, request.out, out.options, out.memory);
  return out;
}

Effort effort_of(const Common& common, const DirectoryRequest& request, const ModelSource& source,
                 const GroupScheme& scheme, const DirectoryPlan& plan, const std::optional<Calibrated>& calibrated) {
  Effort out;
  if (calibrated) out.plan = calibrated->memory;
  out.disk = disk_needed(request.rounding, out.plan, plan.bytes);
  if (!request.rehearse) return out;
  ThreadPool pool(common.threads);
  if (calibrated) {
    const auto target = directory_target(plan, scheme, source, nullptr, pool);
    const CalibrationTokens& tokens = calibrated->tokens;
    out.seconds = rehearse_layerwise(source, tokens.ids, tokens.length, calibrated->options, *target, pool);
  } else {
    out.seconds = rehearse(plan, scheme, source, pool);
  }
  out.memory = peak_memory_bytes();
  return out;
}

void print_plan(const Common& common, const DirectoryPlan& plan, const GroupScheme& scheme, const Effort& effort) {
  if (common.json) {
    Json tensors = Json::array();
    for (const DirectoryTensor& t : plan.tensors) {
      tensors.push_back({{"name", t.tensor.name},
                         {"shape", t.tensor.shape},
                         {"encoding", stored_text(t, scheme)},
                         {"bytes", t.bytes}});
    }
    Json out = {{"bytes", plan.bytes},
                {"bits_per_weight", plan.bits_per_weight()},
                {"fallbacks", fallbacks_json(plan, scheme)},
                {"tensors", tensors}};
    add_effort(out, effort);
    return print_json(out);
  }
  for (const DirectoryTensor& t : plan.tensors) {
    fmt::print("{:<48} {:<16} {:<20} {:>10} {:>7.3f} bits {}\n", t.tensor.name,
               fmt::format("[{}]", fmt::join(t.tensor.shape, ", ")), stored_text(t, scheme), human_bytes(t.bytes),
               8.0 * static_cast<double>(t.bytes) / static_cast<double>(t.tensor.elements()),
               t.refusal.empty() ? "" : "(" + t.refusal + ")");
  }
  fmt::print("\n{} in all, {:.3f} bits per weight\n", human_bytes(plan.bytes), plan.bits_per_weight());
  tell_effort(effort);
}

/// Tensors that stay dense, but that a transform changes.
std::vector<std::string> transformed_tensors(const DirectoryPlan& plan, const LayerwiseOptions& options) {
  std::vector<std::string> out;
  for (const DirectoryTensor& t : plan.tensors) {
    const WeightId& id = t.tensor.id;
    const bool changed = id.layer >= 0 && !t.quantized && (is_matrix(id) || is_folded_vector(id));
    if (changed && options.transform.kind != Transform::None) out.push_back(t.tensor.name);
  }
  return out;
}

std::vector<MatrixReport> write_calibrated(const Common& common, const DirectoryRequest& request,
                                           const ModelSource& source, const GroupScheme& scheme,
                                           const DirectoryPlan& plan, const Calibrated& calibrated, ThreadPool& pool) {
  const LayerwiseOptions& options = calibrated.options;
  const CalibrationTokens& calibration = calibrated.tokens;
  DirectoryWriter writer(source, scheme, plan, request.out);
  writer.write_dense(transformed_tensors(plan, options), pool);
  const auto target = directory_target(plan, scheme, source, &writer, pool);
  auto journal = open_journal(common, request.rounding, source, calibration, options, request.out,
                              fmt::format("{} {}", scheme.name, request.search));
  auto reports = round_layerwise(source, calibration.ids, calibration.length, options, *target, pool,
                                 journal ? &*journal : nullptr);
  writer.finish();
  if (journal) journal->remove();
  return reports;
}

}  // namespace

bool quantize_directory(const Common& common, const DirectoryRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  if (!find_group_scheme(request.scheme, EncodingId::BF16)) return false;
  if (request.out.ends_with(".gguf")) {
    fail("{}: {} makes a Hugging Face directory, not a GGUF file; choose a GGUF scheme such as Q4_K_M, or a directory",
         request.out, request.scheme);
  }
  const ModelSource source = open_model(request.in);
  GroupScheme scheme = *find_group_scheme(request.scheme, float_type(source));
  if (!request.search.empty()) scheme.search = group_search_named(request.search);
  const auto options =
      layerwise_options(request.rounding, scheme.method == "gptq", scheme.transform, scheme.static_activations);
  if (options && options->gptq) note_gptq(scheme, options->order, options->damping);
  DirectoryPlan plan = plan_directory(source, scheme, {request.strict, request.allow_requantize});
  if (!common.quiet()) tell_notes(plan);
  const std::optional<Calibrated> calibrated = calibrate(common, request, source, options);
  if (request.plan_only) {
    print_plan(common, plan, scheme, effort_of(common, request, source, scheme, plan, calibrated));
    return true;
  }
  ThreadPool pool(common.threads);
  check_evaluation_text(common, request.report, request.rounding, calibrated.has_value());
  Provenance provenance{LOWBIT_VERSION, scheme.name, request.search, {}, nullptr, nullptr};
  if (calibrated) {
    provenance.layerwise = calibrated->options;
    provenance.calibration = &calibrated->tokens;
  } else {
    provenance.random_tokens = weighs_random_tokens(scheme);
  }
  plan.provenance = to_json(provenance, source);
  FinishedJob job;
  if (calibrated) {
    job.matrices = write_calibrated(common, request, source, scheme, plan, *calibrated, pool);
  } else {
    write_directory(source, scheme, plan, request.out, pool);
  }
  job.out = request.out;
  job.bytes = plan.bytes;
  job.bits_per_weight = plan.bits_per_weight();
  job.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  job.memory = peak_memory_bytes();
  job.provenance = plan.provenance;
  job.fallbacks = fallbacks_json(plan, scheme);
  job.folded = calibrated && calibrated->options.transform.kind != Transform::None;
  tell_job(common, request.report, source, job, pool);
  return true;
}

std::string directory_schemes_help() {
  std::string out = "\nSchemes that make a Hugging Face directory (numbers are examples):\n";
  for (const SchemeForm& s : group_scheme_forms()) out += fmt::format("  {:<16} {}\n", s.form, s.advice);
  return out;
}

std::string directory_scheme_names() {
  std::string out;
  for (const SchemeForm& s : group_scheme_forms()) out += (out.empty() ? "" : ", ") + std::string(s.form);
  return out;
}

}  // namespace lowbit
