// lowbit run: continue a text, or answer a message.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/load.h"
#include "model/generate.h"
#include "text/chat_template.h"

namespace lowbit {
namespace {

constexpr int64_t kDefaultContext = 4096;

struct Options {
  std::string model, prompt, prompt_file, system;
  bool chat = false, ignore_end = false;
  int64_t tokens = -1, context = 0;
  KvType cache = KvType::F16;
  std::optional<uint64_t> seed;
  GenerateOptions generate;
  LoadOptions load;
  ActivationRounding rounding;
};

std::string prompt_text(const Options& options) {
  if (!options.prompt_file.empty()) return read_text_file(options.prompt_file);
  if (options.prompt == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  if (options.prompt.empty())
    fail("run: there is no prompt; give one with -p TEXT, -f FILE, or -p - for standard input");
  return options.prompt;
}

std::vector<int32_t> prompt_ids(const Options& options, const Tokenizer& tokenizer) {
  const std::string text = prompt_text(options);
  if (!options.chat) return tokenizer.encode(text, true, true);
  std::vector<ChatMessage> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", text});
  return encode_chat(tokenizer, messages);
}

/// Room for the prompt and the answer, within what the model was trained for.
int64_t cache_size(const Options& options, const ModelConfig& config, int64_t prompt) {
  const int64_t limit = config.context > 0 ? config.context : kDefaultContext;
  if (options.context > 0) return std::min(options.context, limit);
  const int64_t wanted = options.tokens >= 0 ? prompt + options.tokens : kDefaultContext;
  return std::min(std::max(wanted, kDefaultContext), limit);
}

void run(const Common& common, Options options) {
  ThreadPool pool(common.threads);
  options.generate.sampler.seed = options.seed ? *options.seed : random_seed();
  options.generate.max_tokens = options.tokens;
  options.generate.ignore_end = options.ignore_end;
  check(options.generate.sampler);
  const ModelSource source = open_model(options.model);
  const Tokenizer tokenizer(read_tokenizer(source));
  const std::vector<int32_t> prompt = prompt_ids(options, tokenizer);
  KvCache cache(source.config, cache_size(options, source.config, static_cast<int64_t>(prompt.size())), options.cache);
  LoadedModel loaded =
      load_model(source, pool, options.load, options.rounding, !common.quiet() && !common.json, cache.bytes());
  Transformer& model = loaded.model;

  if (!common.json && !options.chat) fmt::print("{}", tokenizer.decode(prompt));
  const Generation result = generate(model, tokenizer, cache, prompt, options.generate, [&](std::string_view text) {
    if (common.json) return true;
    fmt::print("{}", text);
    return std::fflush(stdout) == 0;  // a closed pipe ends the work
  });
  if (common.json) {
    return print_json({{"text", result.text},
                       {"tokens", result.tokens},
                       {"stop", name(result.reason)},
                       {"seed", options.generate.sampler.seed},
                       {"prompt_tokens", result.prompt_tokens},
                       {"prompt_tokens_per_second", result.prompt_tokens_per_second()},
                       {"tokens_per_second", result.tokens_per_second()},
                       {"activations", name(options.rounding)},
                       {"load_seconds", loaded.seconds},
                       {"weight_bytes", model.weight_bytes()},
                       {"peak_memory_bytes", peak_memory_bytes()}});
  }
  fmt::print("\n");
  std::fflush(stdout);
  if (common.quiet()) return;
  fmt::print(stderr, "\nprompt {} tokens, {:.1f} tokens/s; answer {} tokens, {:.1f} tokens/s; ended by {}; seed {}\n",
             result.prompt_tokens, result.prompt_tokens_per_second(), result.tokens.size(), result.tokens_per_second(),
             name(result.reason), options.generate.sampler.seed);
}

}  // namespace

void add_run(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, common, "run", "Continue a text, or answer a message",
                  "  lowbit run llama-7b-q4_k_m.gguf -p \"Hello, I am\" -n 128 --temp 0.7\n"
                  "  lowbit run smollm2.gguf --chat -p \"What is the capital of France?\" --temp 0\n"
                  "  lowbit run smollm2.gguf -f prompt.txt -n 64 --seed 42 --json\n"
                  "  lowbit run ./llama-7b-awq -p Hello --repack-cache ~/.cache/lowbit   # starts fast the next time");
  SamplerOptions& sampler = options->generate.sampler;
  command->add_option("model,-m,--model", options->model, "Hugging Face directory or GGUF file")->required();
  auto* prompt = command->add_option("-p,--prompt", options->prompt, "Text to continue; - reads standard input");
  command->add_option("-f,--file", options->prompt_file, "File with the text to continue")->excludes(prompt);
  auto* chat = command->add_flag("--chat", options->chat, "Take the prompt as a message, in the model's chat template");
  command->add_option("--system", options->system, "System message")->needs(chat);
  command->add_option("-n,--predict", options->tokens, "Tokens at most; default: until the model ends")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40));
  command->add_option("-c,--ctx", options->context, "Context in tokens; default: as needed, within the model's")
      ->check(CLI::NonNegativeNumber);
  add_cache_type(command, options->cache);
  add_load_options(command, options->load);
  add_rounding_option(command, options->rounding);
  command->add_option("--temp", sampler.temperature, "Temperature; 0 takes the likeliest token")->capture_default_str();
  command->add_option("--top-k", sampler.top_k, "Keep the K likeliest tokens; 0: all")->capture_default_str();
  command->add_option("--top-p", sampler.top_p, "Keep the likeliest tokens up to this probability")
      ->capture_default_str();
  command->add_option("--min-p", sampler.min_p, "Drop tokens below this part of the likeliest")->capture_default_str();
  command->add_option("--repeat-penalty", sampler.repetition_penalty, "Penalty of repeated tokens; 1: none")
      ->capture_default_str();
  command->add_option("--repeat-last-n", sampler.repetition_window, "Tokens that count as repeated; -1: all")
      ->capture_default_str();
  command->add_option("-s,--seed", options->seed, "Seed of the random draw; default: a new one, printed at the end");
  command->add_option("--stop", options->generate.stop, "End before this text (may be given several times)");
  command->add_flag("--ignore-eos", options->ignore_end, "Go on after the model ends its answer");
  command->callback([&common, options] { run(common, *options); });
}

}  // namespace lowbit
