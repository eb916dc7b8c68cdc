// lowbit verify: is a quantized model whole, and what it is said to be?
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/measure.h"
#include "evaluate/weight_error.h"
#include "model/layout.h"
#include "quantize/fingerprint.h"
#include "quantize/pipeline.h"
#include "quantize/provenance.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, report, source, text;
};

enum class Outcome { Ok, Failed, Skipped };

/// The same figures come from the same files, but sums of another CPU's kernels differ in their last digits.
constexpr double kSameFigure = 1e-3;

class Verification {
 public:
  Verification(const Common& common, const Options& options)
      : common_(common), options_(options), pool_(common.threads), model_(open_model(options.model)) {
    if (!options.report.empty()) report_ = parse_json(read_text_file(options.report), options.report);
    if (!report_.is_object()) fail("{}: is no report of lowbit quantize", options.report);
    if (!options.source.empty()) source_.emplace(open_model(options.source));
  }

  void run() {
    structure();
    values();
    provenance();
    files();
    weights();
    evaluation();
    if (common_.json) print_json({{"ok", failed_ == 0}, {"checks", checks_}});
    if (failed_ > 0) fail("{}: {} of {} checks failed", options_.model, failed_, checks_.size());
  }

 private:
  void tell(const char* check, Outcome outcome, const std::string& detail) {
    constexpr const char* kWords[] = {"ok", "FAILED", "not checked"};
    const char* word = kWords[static_cast<int>(outcome)];
    failed_ += outcome == Outcome::Failed ? 1 : 0;
    checks_.push_back({{"check", check}, {"outcome", word}, {"detail", detail}});
    if (!common_.json) fmt::print("{:<12} {:<11} {}\n", check, word, detail);
  }

  /// That the files are sound was found out by opening them.
  void structure() {
    uint64_t bytes = 0;
    for (const TensorInfo& t : model_.store->tensors()) bytes += t.file_bytes();
    const Tokenizer tokenizer(read_tokenizer(model_));
    tell("structure", Outcome::Ok,
         fmt::format("{} tensors, {}; {} layers, {} tokens in the vocabulary", model_.store->tensors().size(),
                     human_bytes(bytes), model_.config.layers, tokenizer.size()));
  }

  void values() {
    const std::vector<OutputTensor> tensors = hf_tensors(model_);
    int64_t total = 0;
    for (const OutputTensor& t : tensors) total += t.elements();
    Progress progress("decoding", static_cast<uint64_t>(total));
    try {
      for (const OutputTensor& t : tensors) {
        for_row_pieces(*model_.store, t, pool_, [](int64_t, int64_t, int64_t, const float*) {});  // throws if not
        progress.add(static_cast<uint64_t>(t.elements()), t.name);
      }
    } catch (const Error& e) {
      return tell("values", Outcome::Failed, e.what());
    }
    tell("values", Outcome::Ok, "all weights are finite numbers");
  }

  void provenance() {
    const Json from = read_provenance(model_);
    if (from.is_null()) return tell("provenance", Outcome::Skipped, "the model does not say what it was made from");
    const std::string scheme = json_or<std::string>(from, "scheme", "", options_.model);
    const std::string name = json_or<std::string>(from, "source", "", options_.model);
    const std::string told =
        fmt::format("{} of {}, by lowbit {}", scheme, name, json_or<std::string>(from, "version", "", options_.model));
    if (!source_) return tell("provenance", Outcome::Skipped, told + "; name the original with --source to check it");
    const std::string expected = json_or<std::string>(from, "source_hash", "", options_.model);
    const std::string found = fingerprint(*source_->store);
    if (found == expected) return tell("provenance", Outcome::Ok, told);
    tell("provenance", Outcome::Failed,
         fmt::format("{} is not what it was made from: {} there, {} here", options_.source, expected, found));
  }

  void files() {
    const Json* hashes = member("files");
    if (hashes == nullptr) return tell("files", Outcome::Skipped, "no report: give quantize's with --report");
    size_t same = 0;
    std::string wrong;
    for (const fs::path& file : model_.store->files()) {
      // A file that was renamed is still the one.
      const std::string hash = file_hash(file.string());
      const bool known = std::any_of(hashes->begin(), hashes->end(), [&](const Json& h) { return h == hash; });
      known ? static_cast<void>(++same) : static_cast<void>(wrong = file.filename().string());
    }
    if (!wrong.empty()) return tell("files", Outcome::Failed, wrong + " has changed since the report was written");
    if (same != hashes->size())
      return tell("files", Outcome::Failed, fmt::format("{} of {} files are there", same, hashes->size()));
    tell("files", Outcome::Ok, "as when the report was written");
  }

  void weights() {
    const Json* told = member("tensors");
    if (told == nullptr || !source_)
      return tell("weights", Outcome::Skipped, "needs a report that lists their errors, and --source");
    std::map<std::string, double> expected;
    for (const Json& t : *told)
      expected[json_at<std::string>(t, "tensor", options_.report)] =
          json_at<double>(t, "weight_error", options_.report);
    for (const WeightError& t : weight_errors(*source_, model_, pool_)) {
      const auto found = expected.find(t.tensor);
      if (found == expected.end()) return tell("weights", Outcome::Failed, t.tensor + " is not in the report");
      if (!same(t.error, found->second)) {
        return tell(
            "weights", Outcome::Failed,
            fmt::format("{}: relative error {:.6g}, and {:.6g} in the report", t.tensor, t.error, found->second));
      }
    }
    tell("weights", Outcome::Ok, "errors against the original as reported");
  }

  void evaluation() {
    const Json* told = member("evaluation");
    if (told == nullptr || !source_ || options_.text.empty())
      return tell("figures", Outcome::Skipped, "needs a report with an evaluation, --source and --text");
    MeasureOptions how;
    how.text = options_.text;
    how.reference = options_.source;
    how.activations = json_at<std::string>(*told, "activations", options_.report);
    how.evaluate.hugging_face = json_at<bool>(*told, "hugging_face", options_.report);
    how.evaluate.context = json_at<int64_t>(*told, "context", options_.report);
    how.evaluate.chunks = json_at<int64_t>(*told, "chunks", options_.report);
    if (file_hash(options_.text) != json_at<std::string>(*told, "text_hash", options_.report))
      return tell("figures", Outcome::Failed, options_.text + " is not the text that the report's figures are of");
    const Json found = to_json(measure(options_.model, how, pool_), how);
    for (const char* figure : {"perplexity", "mean_kld", "top1_agreement"}) {
      const double before = json_at<double>(*told, figure, options_.report), now = found[figure].get<double>();
      if (!same(now, before))
        return tell("figures", Outcome::Failed,
                    fmt::format("{} is {:.6g}, and {:.6g} in the report", figure, now, before));
    }
    tell("figures", Outcome::Ok,
         fmt::format("perplexity {:.4f}, mean KL divergence {:.5f}, as reported", found["perplexity"].get<double>(),
                     found["mean_kld"].get<double>()));
  }

  static bool same(double a, double b) { return std::abs(a - b) <= kSameFigure * std::max(std::abs(a), std::abs(b)); }

  const Json* member(const char* key) const {
    const auto found = report_.find(key);
    return found == report_.end() ? nullptr : &*found;
  }

  const Common& common_;
  const Options& options_;
  ThreadPool pool_;
  const ModelSource model_;
  std::optional<ModelSource> source_;
  Json report_ = Json::object();
  Json checks_ = Json::array();
  int failed_ = 0;
};

}  // namespace

void add_verify(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, common, "verify", "Check that a quantized model is whole, and what it is said to be",
                  "  lowbit quantize ./llama-7b llama-7b.gguf Q4_K_M --eval wiki.test.raw --report llama-7b.json\n"
                  "  lowbit verify llama-7b.gguf\n"
                  "  lowbit verify llama-7b.gguf --report llama-7b.json --source ./llama-7b --text wiki.test.raw");
  command->add_option("model", options->model, "Quantized model: Hugging Face directory or GGUF file")->required();
  command->add_option("--report", options->report, "quantize's report: checks hashes of the files");
  command->add_option("--source", options->source, "The original: checks that it was made from it, and how far it is");
  command->add_option("--text", options->text, "The text of the report's figures: measures them again");
  command->callback([&common, options] { Verification(common, *options).run(); });
}

}  // namespace lowbit
