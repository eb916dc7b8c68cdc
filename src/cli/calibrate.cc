// lowbit calibrate: which input channels matter, measured over a text.
#include "quantize/calibration/calibrate.h"

#include <fmt/core.h>

#include <optional>

#include "base/file.h"
#include "cli/command.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, text, out;
  CalibrateOptions calibrate;
};

/// Over the text as llama-imatrix cuts it, or over the built-in mix.
ImportanceMatrix gather(Transformer& model, const Tokenizer& tokenizer, const Options& options,
                        const std::optional<std::string>& text) {
  if (text) {
    const std::string name = std::filesystem::path(options.text).filename().string();
    return calibrate(model, tokenizer, *text, name, options.calibrate);
  }
  const CalibrationOptions mix{{}, options.calibrate.chunks, options.calibrate.chunk, options.calibrate.parse_special};
  const CalibrationTokens samples = calibration_tokens(model.config(), tokenizer, mix);
  if (!samples.note.empty()) fmt::print(stderr, "note: {}\n", samples.note);
  return calibrate(model, samples);
}

void run_calibrate(const Common& common, const Options& options) {
  std::optional<std::string> text;
  if (!options.text.empty()) text = read_text_file(options.text);
  ThreadPool pool(common.threads);
  const ModelSource source = open_model(options.model);
  const Tokenizer tokenizer(read_tokenizer(source));
  Transformer model(source, pool);
  const ImportanceMatrix stats = gather(model, tokenizer, options, text);
  write_imatrix(options.out, stats);
  if (common.json) {
    return print_json({{"entries", stats.entries.size()},
                       {"chunks", stats.chunk_count},
                       {"tokens", int64_t{stats.chunk_count} * stats.chunk_size},
                       {"peak_memory_bytes", peak_memory_bytes()}});
  }
  fmt::print("{}: {} matrices, {} chunks of {} tokens\n", options.out, stats.entries.size(), stats.chunk_count,
             stats.chunk_size);
}

}  // namespace

void add_calibrate(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, common, "calibrate", "Gather an importance matrix from a text, or from the built-in mix of texts",
      "  lowbit calibrate ./llama-7b --text wiki.valid.txt -o llama-7b.imatrix\n"
      "  lowbit quantize ./llama-7b llama-7b-q3_k_m.gguf Q3_K_M --imatrix llama-7b.imatrix");
  command->add_option("model,-m,--model", options->model, "Hugging Face directory or GGUF file")->required();
  command->add_option("--text", options->text, "Text like that which the model will meet; default: a built-in mix");
  command->add_option("-o,--out", options->out, "File to write (GGUF, as llama-imatrix writes it)")->required();
  command->add_option("-c,--ctx", options->calibrate.chunk, "Tokens a chunk")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command->add_option("--chunks", options->calibrate.chunks, "Chunks at most; default: all")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--parse-special", options->calibrate.parse_special,
                    "Read special tokens' names in the text as tokens");
  command->callback([&common, options] { run_calibrate(common, *options); });
}

}  // namespace lowbit
