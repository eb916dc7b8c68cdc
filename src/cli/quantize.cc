// lowbit quantize: a model in, a smaller one out.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <chrono>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/mixed_precision.h"
#include "cli/quantize_directory.h"
#include "cli/report.h"
#include "cli/rounding.h"
#include "container/imatrix.h"
#include "model/metadata.h"
#include "quantize/calibration/random_tokens.h"
#include "quantize/layerwise/rehearsal.h"
#include "quantize/pipeline.h"
#include "quantize/provenance.h"

namespace lowbit {
namespace {

struct Options {
  std::string in, out, scheme, imatrix, output_type, embedding_type, search;
  RoundingOptions rounding;
  MixedOptions mixed;
  ReportOptions report;
  std::vector<std::string> tensor_types;
  bool strict = false, pure = false, allow_requantize = false, plan_only = false, rehearse = false;
};

const Encoding* encoding_named(const std::string& name, const char* option) {
  if (const Encoding* found = find_file_encoding(name)) return found;
  std::vector<std::string_view> names;
  for (const Encoding& e : encodings()) {
    if (e.kind != EncodingKind::Raw && !e.run_only) names.push_back(e.name);
  }
  fail("{} {}: is no encoding; known are {}", option, name, fmt::join(names, " "));
}

const Mixture* mixture_named(const std::string& name) {
  if (const Mixture* found = find_mixture(name)) return found;
  std::vector<std::string_view> names;
  for (const Mixture& m : mixtures()) names.push_back(m.name);
  fail("{}: is no scheme; known are {} for GGUF, and for directories {}", name, fmt::join(names, " "),
       directory_scheme_names());
}

PlanOptions plan_options(const Options& options, const std::optional<LayerwiseOptions>& calibrated,
                         const ImportanceMatrix* importance) {
  PlanOptions out;
  if (!options.scheme.empty()) out.mixture = mixture_named(options.scheme);
  out.pure = options.pure;
  out.strict = options.strict;
  out.allow_requantize = options.allow_requantize;
  if (!options.output_type.empty()) out.output = encoding_named(options.output_type, "--output-tensor-type");
  if (!options.embedding_type.empty()) out.embedding = encoding_named(options.embedding_type, "--token-embedding-type");
  for (const std::string& rule : options.tensor_types) {
    const size_t equals = rule.rfind('=');
    if (equals == std::string::npos) fail("--tensor-type {}: should read PATTERN=TYPE, such as attn_v=Q8_0", rule);
    out.overrides.emplace_back(rule.substr(0, equals), encoding_named(rule.substr(equals + 1), "--tensor-type"));
  }
  out.importance = importance;
  out.layerwise = calibrated.has_value();
  out.transformed = calibrated && calibrated->transform.kind != Transform::None;
  return out;
}

Json fallbacks_json(const Plan& plan) {
  Json out = Json::array();
  for (const PlannedTensor& t : plan.tensors) {
    if (!t.fell_back()) continue;
    out.push_back({{"tensor", t.tensor.name},
                   {"wanted", t.wanted->name},
                   {"stored", t.encoding->name},
                   {"row_length", t.tensor.shape.back()},
                   {"block", t.wanted->block}});
  }
  return out;
}

/// What the user should know before the work: fallbacks are never silent.
void tell_notes(const Plan& plan) {
  std::map<std::pair<std::string_view, std::string_view>, int> kinds;
  for (const PlannedTensor& t : plan.tensors) {
    if (t.fell_back()) ++kinds[{t.wanted->name, t.encoding->name}];
  }
  for (const auto& [names, count] : kinds) {
    const Encoding* wanted = find_encoding(names.first);
    const Encoding* stored = find_encoding(names.second);
    fmt::print(stderr,
               "note: {} tensors have rows that are no multiple of {}: {} ({:.2f} bits) instead of {} ({:.2f} bits)\n",
               count, wanted->block, stored->name, stored->bits_per_weight(), wanted->name, wanted->bits_per_weight());
  }
  if (plan.without_importance > 0) {
    fmt::print(stderr, "note: the importance matrix is silent on {} matrices: random tokens stand in for it\n",
               plan.without_importance);
  }
}

/// Discards what is written.
class NullWriter final : public TensorWriter {
 public:
  void write(size_t, uint64_t, std::span<const std::byte>) override {}
  void finish() override {}
};

void print_plan(const Common& common, const Plan& plan, const Effort& effort) {
  if (!common.json) {
    for (const PlannedTensor& t : plan.tensors) {
      fmt::print(
          "{:<36} {:<16} {:<6} {:>10} {}\n", t.tensor.name, fmt::format("[{}]", fmt::join(t.tensor.shape, ", ")),
          t.encoding->name, human_bytes(t.bytes),
          t.fell_back() ? fmt::format("(not {}: rows are no multiple of {})", t.wanted->name, t.wanted->block) : "");
    }
    fmt::print("\n{} in all, {:.3f} bits per weight\n", human_bytes(plan.bytes), plan.bits_per_weight());
    tell_effort(effort);
    return;
  }
  Json tensors = Json::array();
  for (const PlannedTensor& t : plan.tensors) {
    tensors.push_back(
        {{"name", t.tensor.name}, {"shape", t.tensor.shape}, {"encoding", t.encoding->name}, {"bytes", t.bytes}});
  }
  Json out = {{"bytes", plan.bytes},
              {"bits_per_weight", plan.bits_per_weight()},
              {"fallbacks", fallbacks_json(plan)},
              {"tensors", tensors}};
  add_effort(out, effort);
  print_json(out);
}

/// What is given in place of a scheme, or beside it.
void check_targets(const Options& options) {
  const MixedOptions& mixed = options.mixed;
  if (mixed.has_target() && (!options.scheme.empty() || options.pure)) {
    throw CLI::ValidationError(
        "a target (--target-size, --target-bpw, --max-kld) chooses the types by itself: leave out "
        "the scheme; --types says what to choose from");
  }
  if (!mixed.has_target() && mixed.recipe.empty() && options.scheme.empty()) {
    throw CLI::ValidationError(
        "name a SCHEME, such as Q4_K_M, or give --target-size, --target-bpw, --max-kld or --recipe");
  }
}

/// A GGUF file in the making.
class GgufQuantizer {
 public:
  GgufQuantizer(const Common& common, const Options& options)
      : common_(common),
        options_(options),
        source_(open_model(options.in)),
        pool_(common.threads),
        random_tokens_(source_, pool_) {
    if (!options.imatrix.empty()) importance_ = read_imatrix(options.imatrix);
    calibrated_ = layerwise_options(options.rounding, false, Transform::None);
    if (calibrated_ && calibrated_->order == ColumnOrder::Activation) {
      fail("--order act: GGUF files cannot say which block a column is of; use group-aware or static");
    }
    plan_options_ = plan_options(options, calibrated_, importance_ ? &*importance_ : nullptr);
    if (!options.mixed.recipe.empty()) {
      recipe_ = read_recipe(options.mixed.recipe);
      plan_options_.recipe = &recipe_;
    }
  }

  void run() {
    const auto start = std::chrono::steady_clock::now();
    metadata_ = gguf_metadata(source_);
    if (importance_) tell_importance();
    if (calibrated_) {
      calibration_ =
          read_calibration(common_, options_.rounding, source_, options_.out, *calibrated_, memory_.emplace());
    } else if (!options_.mixed.has_target()) {
      note_uncalibrated_memory(common_, options_.rounding);
    }
    check_evaluation_text(common_, options_.report, options_.rounding, calibrated_.has_value());
    plan_ = first_plan();
    provenance_ =
        to_json(Provenance{LOWBIT_VERSION, options_.scheme.empty() ? "mixed" : options_.scheme, "", calibrated_,
                           &calibration_, importance_ ? &*importance_ : nullptr, wants_random_tokens(plan_)},
                source_);
    metadata_.set(kProvenanceKey, provenance_.dump());
    if (options_.mixed.has_target()) choose();
    if (!common_.quiet()) tell_notes(plan_);
    if (!options_.mixed.recipe_out.empty()) write_text_file(options_.mixed.recipe_out, recipe_text(plan_));
    if (options_.plan_only) {
      print_plan(common_, plan_, effort());
      if (!common_.json && plan_options_.recipe != nullptr) fmt::print("{}", types_table(plan_));
      return;
    }
    const bool written = mixed_ && mixed_->measured_kld;
    bytes_ = written ? std::filesystem::file_size(options_.out) : write(plan_, options_.out);
    tell_result(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

 private:
  void tell_importance() {
    metadata_.set("quantize.imatrix.file", options_.imatrix);
    if (!importance_->datasets.empty()) metadata_.set("quantize.imatrix.dataset", importance_->datasets.front());
    metadata_.set("quantize.imatrix.entries_count", static_cast<uint32_t>(importance_->entries.size()));
    metadata_.set("quantize.imatrix.chunks_count", importance_->chunk_count);
  }

  /// What the scheme or the recipe says; with a target, any types, for others take their place.
  Plan first_plan() const {
    PlanOptions options = plan_options_;
    if (options_.mixed.has_target()) options.mixture = find_mixture("Q4_K_M");
    return make_plan(source_, options);
  }

  void choose() {
    estimate_importance(plan_, random_tokens_);
    std::function<void(const Recipe&, const std::string&)> write_trial;
    if (!options_.plan_only) {
      write_trial = [this](const Recipe& recipe, const std::string& path) {
        PlanOptions trial = plan_options_;
        trial.recipe = &recipe;
        Plan plan = make_plan(source_, trial);
        write(plan, path);
      };
    }
    mixed_ = choose_types(common_, options_.mixed, options_.rounding, source_, plan_, metadata_, calibration_.ids,
                          options_.out, pool_, write_trial);
    recipe_ = mixed_->plan.recipe;
    plan_options_.recipe = &recipe_;
    plan_ = make_plan(source_, plan_options_);
    if (!common_.quiet()) {
      fmt::print(stderr, "types chosen for {}: predicted KL divergence {:.4f}\n", human_bytes(mixed_->plan.bytes),
                 mixed_->plan.predicted_kld);
    }
  }

  uint64_t write(Plan& plan, const std::string& path) {
    GgufMetadata metadata = metadata_;
    if (plan_options_.recipe != nullptr || options_.mixed.has_target()) metadata.set(kRecipeKey, recipe_text(plan));
    estimate_importance(plan, random_tokens_);
    if (!calibrated_) return write_gguf(plan, source_, std::move(metadata), path, pool_);
    auto journal =
        open_journal(common_, options_.rounding, source_, calibration_, *calibrated_, path, recipe_text(plan));
    const uint64_t bytes = write_gguf(plan, source_, std::move(metadata), path, pool_, [&](TensorWriter& writer) {
      const auto target = gguf_target(plan, source_, writer, pool_);
      matrices_ = round_layerwise(source_, calibration_.ids, calibration_.length, *calibrated_, *target, pool_,
                                  journal ? &*journal : nullptr);
    });
    if (journal) journal->remove();
    return bytes;
  }

  Effort effort() {
    Effort out;
    out.plan = memory_;
    out.disk = disk_needed(options_.rounding, memory_, plan_.bytes);
    if (!options_.rehearse) return out;
    out.seconds = rehearse(plan_, source_, pool_);
    if (calibrated_) {
      NullWriter nothing;
      const auto target = gguf_target(plan_, source_, nothing, pool_);
      out.seconds += rehearse_layerwise(source_, calibration_.ids, calibration_.length, *calibrated_, *target, pool_);
    }
    out.memory = peak_memory_bytes();
    return out;
  }

  void tell_result(double seconds) {
    FinishedJob job{options_.out,        bytes_,      plan_.bits_per_weight(), seconds,
                    peak_memory_bytes(), provenance_, fallbacks_json(plan_)};
    job.matrices = matrices_;
    job.folded = plan_options_.transformed;
    if (mixed_) job.more["predicted_kld"] = mixed_->plan.predicted_kld;
    if (mixed_ && mixed_->measured_kld) {
      job.more["measured_kld"] = mixed_->measured_kld->value;
      job.more["measured_kld_error"] = mixed_->measured_kld->error;
    }
    tell_job(common_, options_.report, source_, job, pool_);
    if (common_.json) return;
    if (mixed_ && mixed_->measured_kld) {
      fmt::print("mean KL divergence {:.4f} +- {:.4f} on text held out of calibration\n", mixed_->measured_kld->value,
                 kConfidence95 * mixed_->measured_kld->error);
    }
    if (mixed_) fmt::print("{}", types_table(plan_));
  }

  const Common& common_;
  const Options& options_;
  const ModelSource source_;
  ThreadPool pool_;
  RandomTokens random_tokens_;
  std::optional<ImportanceMatrix> importance_;
  PlanOptions plan_options_;
  std::optional<LayerwiseOptions> calibrated_;
  GgufMetadata metadata_;
  CalibrationTokens calibration_;
  std::optional<MemoryPlan> memory_;  // of calibrated work
  Recipe recipe_;
  std::optional<MixedResult> mixed_;
  Plan plan_;
  uint64_t bytes_ = 0;
  Json provenance_;
  std::vector<MatrixReport> matrices_;
};

void quantize(const Common& common, const Options& options) {
  check_targets(options);
  if (quantize_directory(
          common, {options.in, options.out, options.scheme, options.search, options.strict, options.allow_requantize,
                   options.plan_only, options.rehearse, options.rounding, options.report})) {
    return;
  }
  GgufQuantizer(common, options).run();
}

std::string scheme_list() {
  std::string out = "\nSchemes:\n";
  for (const Mixture& m : mixtures()) out += fmt::format("  {:<8} {}\n", m.name, m.advice);
  return out + directory_schemes_help();
}

}  // namespace

void add_quantize(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, common, "quantize", "Make a model smaller",
      "  lowbit quantize ./llama-7b llama-7b-q4_k_m.gguf Q4_K_M\n"
      "  lowbit quantize ./llama-7b ./llama-7b-nf4 nf4-dq\n"
      "  lowbit quantize ./llama-7b llama-7b-q4_k_m.gguf Q4_K_M --rounding gptq   # slower, and closer to the "
      "original\n"
      "  lowbit quantize ./llama-7b ./llama-7b-gptq gptq-4bit-128g --calib my-texts.jsonl\n"
      "  lowbit quantize ./llama-7b llama-7b-q3_k_m.gguf Q3_K_M --imatrix llama-7b.imatrix\n"
      "  lowbit quantize ./llama-7b out.gguf Q4_K_M --tensor-type 'ffn_down=Q6_K' --tensor-type 'blk\\.0\\.=Q8_0'\n"
      "  lowbit quantize ./llama-7b llama-7b.gguf --target-size 4GiB        # types chosen for each tensor\n"
      "  lowbit quantize ./llama-7b out.gguf Q4_K_M --plan       # what it would be, without doing it\n" +
          scheme_list());
  command->add_option("in", options->in, "Model: Hugging Face directory, or an F32, F16 or BF16 GGUF file")->required();
  command->add_option("out", options->out, "GGUF file to write, or the directory to make")->required();
  command->add_option("scheme", options->scheme, "One of the schemes below; none with a target or a recipe");
  command->add_option("--imatrix", options->imatrix, "Importance matrix, from lowbit calibrate or llama-imatrix");
  command->add_option("--search", options->search,
                      "How scales of a directory scheme are found: squares (default), absmax, minmax, range, hqq");
  command->add_option("--tensor-type", options->tensor_types,
                      "PATTERN=TYPE: the type of tensors by regular expression");
  command->add_option("--output-tensor-type", options->output_type, "Type of the output matrix");
  command->add_option("--token-embedding-type", options->embedding_type, "Type of the token embedding");
  add_rounding_options(*command, options->rounding);
  add_mixed_options(*command, options->mixed);
  add_report_options(*command, options->report);
  command->add_flag("--pure", options->pure, "No mixture: every matrix gets the scheme's base type");
  command->add_flag("--strict", options->strict,
                    "Refuse rows that the wanted type cannot hold, instead of falling back");
  command->add_flag("--allow-requantize", options->allow_requantize, "Take a source that is already quantized");
  command->add_flag("--plan", options->plan_only, "Print what would be done to each tensor, and stop");
  command->add_flag("--rehearse", options->rehearse,
                    "With --plan: do a little of the work (with calibration: a whole layer) to tell time and memory");
  command->callback([&common, options] { quantize(common, *options); });
}

}  // namespace lowbit
