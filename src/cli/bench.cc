// lowbit bench: tokens a second, and how near that is to this machine's limit.
#include <fmt/core.h>

#include <algorithm>

#include "cli/command.h"
#include "evaluate/speed.h"
#include "kernel/kernels.h"

namespace lowbit {
namespace {

struct Options {
  std::string model;
  int64_t prompt = 512, generate = 128;
  int repeats = 5;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void bench(const Common& common, const Options& options) {
  ThreadPool pool(common.threads);
  const ModelSource source = open_model(options.model);
  Transformer model(source, pool);
  std::vector<double> prompt, generation;
  for (int i = 0; i < options.repeats; ++i) {
    if (options.prompt > 0) prompt.push_back(prompt_speed(model, options.prompt));
    if (options.generate > 0) generation.push_back(generation_speed(model, options.generate));
  }
  const double bandwidth = stream_read_bandwidth(pool);
  Json results = Json::array();
  if (!prompt.empty()) {
    results.push_back({{"test", fmt::format("pp{}", options.prompt)}, {"tokens_per_second", median(prompt)}});
  }
  if (!generation.empty()) {
    const double speed = median(generation);
    const double fraction = speed * static_cast<double>(model.weight_bytes()) / bandwidth;
    results.push_back({{"test", fmt::format("tg{}", options.generate)},
                       {"tokens_per_second", speed},
                       {"fraction_of_limit", fraction}});
  }
  if (common.json) {
    return print_json({{"model", options.model},
                       {"threads", pool.size()},
                       {"kernels", kernels().name},
                       {"weight_bytes", model.weight_bytes()},
                       {"stream_read_bytes_per_second", bandwidth},
                       {"results", results}});
  }
  fmt::print("{}: {} of weights, {} threads, {} kernels; memory reads at {:.1f} GB/s\n", options.model,
             human_bytes(model.weight_bytes()), pool.size(), kernels().name, bandwidth / 1e9);
  for (const Json& r : results) {
    fmt::print("  {:<8} {:>10.1f} tokens/s", r["test"].get<std::string>(), r["tokens_per_second"].get<double>());
    if (r.contains("fraction_of_limit"))
      fmt::print("   {:.0f} % of what memory allows", 100 * r["fraction_of_limit"].get<double>());
    fmt::print("\n");
  }
}

}  // namespace

void add_bench(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, common, "bench", "Measure prompt and generation speed",
                  "  lowbit bench llama-7b-q4_k_m.gguf\n  lowbit bench llama-7b-q4_k_m.gguf -p 2048 -n 0 -t 8 --json");
  command->add_option("model,-m,--model", options->model, "Hugging Face directory or GGUF file")->required();
  command->add_option("-p,--prompt", options->prompt, "Prompt tokens; 0: skip")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("-n,--predict", options->generate, "Tokens to generate; 0: skip")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("-r,--repetitions", options->repeats, "Repeats; the median is shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->callback([&common, options] { bench(common, *options); });
}

}  // namespace lowbit
