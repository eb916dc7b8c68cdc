// lowbit tokenize: text to ids, as the model sees them.
#include <fmt/core.h>

#include "base/file.h"
#include "cli/command.h"
#include "model/source.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, text, prompt;
  bool no_special = false;
};

void tokenize(const Common& common, const Options& options) {
  const Tokenizer tokenizer(read_tokenizer(std::filesystem::path(options.model)));
  const std::string text = options.text.empty() ? options.prompt : read_text_file(options.text);
  const std::vector<int32_t> ids = tokenizer.encode(text, !options.no_special, !options.no_special);
  if (common.json) return print_json({{"ids", ids}});
  for (const int32_t id : ids)
    fmt::print("{:>7}  {}\n", id, Json(tokenizer.piece(id, true)).dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

void add_tokenize(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, common, "tokenize", "Show the tokens of a text",
                                  "  lowbit tokenize llama-7b.gguf -p \"Hello, I am\"\n"
                                  "  lowbit tokenize ./llama-7b --text wiki.test.raw --json --no-special");
  command->add_option("model", options->model, "Hugging Face directory or GGUF file")->required();
  auto* text = command->add_option("--text", options->text, "File to tokenize");
  command->add_option("-p,--prompt", options->prompt, "Text to tokenize")->excludes(text);
  command->add_flag("--no-special", options->no_special,
                    "Add no BOS/EOS, and read special tokens' names in the text as plain text");
  command->callback([&common, options] { tokenize(common, *options); });
}

}  // namespace lowbit
