// lowbit eval: perplexity, and what was lost against a reference.
#include "cli/command.h"
#include "cli/measure.h"

namespace lowbit {
namespace {

struct Options {
  std::string model;
  MeasureOptions measure;
};

void eval(const Common& common, const Options& options) {
  ThreadPool pool(common.threads);
  const Measurement result = measure(options.model, options.measure, pool);
  if (!common.json) return print_evaluation(result.evaluation);
  Json out = to_json(result, options.measure);
  out["chunk_nll"] = result.evaluation.chunk_nll;
  out["peak_memory_bytes"] = peak_memory_bytes();
  print_json(out);
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
  command->add_option("--text", options->measure.text, "Text to score (never the one that calibrated the model)")
      ->required();
  command->add_option("--reference", options->measure.reference,
                      "Original model, run in lock-step: adds KL divergence");
  command->add_option("-c,--ctx", options->measure.evaluate.context, "Tokens a chunk")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command->add_option("--chunks", options->measure.evaluate.chunks, "Chunks at most; default: all")
      ->check(CLI::NonNegativeNumber);
  add_cache_type(command, options->measure.evaluate.cache);
  add_load_options(command, options->measure.load);
  command->add_flag("--hf", options->measure.evaluate.hugging_face,
                    "Score every token of a chunk but its first; default: the second half, as llama-perplexity does");
  command
      ->add_option(
          "--activations", options->measure.activations,
          "How activations are rounded to 8 bits: llama.cpp (default), or fine, with a scale every 32 (default "
          "with --hf); of float weights they stay exact. Or fast: the model's as lowbit run rounds them on this "
          "machine, and F16 weights if it does, the reference's fine")
      ->check(CLI::IsMember({"llama.cpp", "fine", "fast"}));
  command->callback([&common, options] { eval(common, *options); });
}

}  // namespace lowbit
