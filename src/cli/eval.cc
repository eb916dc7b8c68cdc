// lowbit eval: perplexity, and what was lost against a reference.
#include <fmt/core.h>

#include "base/file.h"
#include "cli/command.h"
#include "evaluate/perplexity.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, text, reference;
  std::string activations;
  EvaluateOptions evaluate;
};

/// A model with its tokenizer, ready to run; the transformer reads from the source as long as it lives.
struct Loaded {
  ModelSource source;
  Tokenizer tokenizer;
  Transformer transformer;

  Loaded(const std::string& path, ThreadPool& pool, ActivationScales scales)
      : source(open_model(path)), tokenizer(read_tokenizer(source)), transformer(source, pool, scales) {}
  EvaluatedModel view() { return {transformer, tokenizer, source.path.string()}; }
};

void print_text(const Evaluation& e) {
  const double confidence = 1.96;  // 95 %
  auto line = [&](const char* label, const Estimate& x, double scale, const char* unit) {
    fmt::print("  {:<26} {:>10.4f} ± {:.4f}{}\n", label, scale * x.value, confidence * scale * x.error, unit);
  };
  fmt::print("{} tokens scored, in {} chunks of {} ({:.1f} s); intervals are 95 %\n", e.tokens, e.chunks, e.context,
             e.seconds);
  line("perplexity", e.perplexity, 1, "");
  if (!e.divergence) return;
  const Divergence& d = *e.divergence;
  line("of the reference", d.reference_perplexity, 1, "");
  line("ratio", d.perplexity_ratio, 1, "");
  line("KL divergence, mean", d.mean_kld, 1, "");
  for (const auto& [label, value] :
       {std::pair{"median", d.median_kld}, {"99 %", d.kld_p99}, {"99.9 %", d.kld_p999}, {"maximum", d.max_kld}}) {
    fmt::print("  {:>26} {:>10.4f}\n", label, value);
  }
  line("same top token", d.top1_agreement, 100, " %");
  line("RMS change of probability", d.rms_delta_p, 100, " %");
}

void eval(const Common& common, const Options& options) {
  const std::string text = read_text_file(options.text);
  ThreadPool pool(common.threads);
  // Each definition with the arithmetic of those who defined it, so that figures can be compared with theirs.
  const bool fine = options.activations.empty() ? options.evaluate.hugging_face : options.activations == "fine";
  const ActivationScales scales = fine ? ActivationScales::Fine : ActivationScales::LlamaCpp;
  Loaded model(options.model, pool, scales);
  std::optional<Loaded> reference;
  if (!options.reference.empty()) reference.emplace(options.reference, pool, scales);
  std::optional<EvaluatedModel> reference_view;
  if (reference) reference_view.emplace(reference->view());
  const Evaluation result = evaluate(model.view(), reference_view ? &*reference_view : nullptr, text, options.evaluate);
  if (common.json) {
    Json out = to_json(result);
    out["activations"] = fine ? "fine" : "llama.cpp";
    out["peak_memory_bytes"] = peak_memory_bytes();
    return print_json(out);
  }
  print_text(result);
}

}  // namespace

void add_eval(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, common, "eval", "Measure perplexity, and what was lost against the original",
                  "  lowbit eval llama-7b-q4_k_m.gguf --text wiki.test.raw\n"
                  "  lowbit eval llama-7b-q4_k_m.gguf --text wiki.test.raw --reference ./llama-7b --chunks 40\n"
                  "  lowbit eval ./llama-7b --text wiki.test.raw --hf --json    # as Hugging Face's guide computes it");
  command->add_option("model,-m,--model", options->model, "Hugging Face directory or GGUF file")->required();
  command->add_option("--text", options->text, "Text to score (never the one that calibrated the model)")->required();
  command->add_option("--reference", options->reference, "Original model, run in lock-step: adds KL divergence");
  command->add_option("-c,--ctx", options->evaluate.context, "Tokens a chunk")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command->add_option("--chunks", options->evaluate.chunks, "Chunks at most; default: all")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--hf", options->evaluate.hugging_face,
                    "Score every token of a chunk but its first; default: the second half, as llama-perplexity does");
  command
      ->add_option("--activations", options->activations,
                   "How activations are rounded to 8 bits: llama.cpp (default), or fine, as lowbit run does (default "
                   "with --hf)")
      ->check(CLI::IsMember({"llama.cpp", "fine"}));
  command->callback([&common, options] { eval(common, *options); });
}

}  // namespace lowbit
