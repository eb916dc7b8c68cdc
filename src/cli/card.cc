// The model card: YAML that the Hugging Face Hub reads, then Markdown for people.
#include <fmt/core.h>

#include "cli/report.h"

namespace lowbit {
namespace {

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

std::string figures(const Json& evaluation) {
  std::string out = fmt::format(
      "\n## What was lost\nMeasured by `lowbit eval` on {} ({} chunks of {} tokens), against the original.\n\n"
      "| | |\n|---|---|\n| perplexity | {:.4f} ± {:.4f} |\n",
      text_of(evaluation["text"]), text_of(evaluation["chunks"]), text_of(evaluation["context"]),
      evaluation["perplexity"].get<double>(), kConfidence95 * evaluation["perplexity_error"].get<double>());
  if (!evaluation.contains("mean_kld")) return out;
  out += fmt::format("| of the original | {:.4f} |\n", evaluation["reference_perplexity"].get<double>());
  out += fmt::format("| mean KL divergence | {:.5f} ± {:.5f} |\n", evaluation["mean_kld"].get<double>(),
                     kConfidence95 * evaluation["mean_kld_error"].get<double>());
  return out + fmt::format("| same top token | {:.2f} ± {:.2f} % |\n", 100 * evaluation["top1_agreement"].get<double>(),
                           100 * kConfidence95 * evaluation["top1_agreement_error"].get<double>());
}

}  // namespace

std::string model_card(const Json& report) {
  const Json& from = report["provenance"];
  const std::string base = text_of(from["source"]), scheme = text_of(from["scheme"]);
  std::string out = fmt::format(
      "---\nbase_model: {0}\nbase_model_relation: quantized\ntags:\n- quantized\n- lowbit\n---\n# {0}, {1}\n"
      "{0} quantized by lowbit {2}: {3}, {4:.3f} bits per weight.\n",
      base, scheme, text_of(from["version"]), human_bytes(report["bytes"].get<uint64_t>()),
      report["bits_per_weight"].get<double>());
  if (report.contains("evaluation")) out += figures(report["evaluation"]);
  const Json& fallbacks = report["fallbacks"];
  if (!fallbacks.empty()) {
    out += fmt::format("\n{} matrices could not be stored as wanted, and are counted above as they are, such as {}.\n",
                       fallbacks.size(), text_of(fallbacks[0]["tensor"]));
  }
  out += "\n## How it was made\n| | |\n|---|---|\n";
  for (const auto& [key, value] : from.items()) out += fmt::format("| {} | {} |\n", key, text_of(value));
  return out + "\nThe same is kept in the model itself; `lowbit verify` checks it.\n";
}

}  // namespace lowbit
