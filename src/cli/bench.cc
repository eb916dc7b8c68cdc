// lowbit bench: tokens a second, and how near that is to this machine's limit.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/load.h"
#include "evaluate/speed.h"
#include "kernel/kernels.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, output = "md";
  std::vector<int64_t> prompts{512}, generates{128}, sequences{1}, depths{0};
  std::vector<std::string> both;
  std::vector<int> threads;
  int repetitions = 5;
  KvType cache = KvType::F16;
  LoadOptions load;
  ActivationRounding rounding;
};

/// A result with the limits of its number of threads.
struct Row {
  SpeedResult result;
  int threads;
  double fraction;
  const char* limit;
};

struct Limits {
  int threads;
  double read_bytes, code_operations, float_operations, bf16_operations;
};

struct Report {
  std::string model;
  ActivationRounding rounding;
  uint64_t weight_bytes = 0;
  double load_seconds = 0;
  std::vector<Limits> limits;
  std::vector<Row> rows;
};

constexpr int64_t kMostTokens = int64_t{1} << 24;

SpeedTest prompt_and_generate(const std::string& text) {
  SpeedTest test;
  int used = 0;
  const auto sound = [](int64_t tokens) { return tokens > 0 && tokens <= kMostTokens; };
  if (std::sscanf(text.c_str(), "%9ld,%9ld%n", &test.prompt, &test.generate, &used) != 2 ||
      used != static_cast<int>(text.size()) || !sound(test.prompt) || !sound(test.generate)) {
    fail("bench: --pg {}: two numbers are needed, prompt tokens and tokens to generate, as in --pg 512,128", text);
  }
  return test;
}

std::vector<SpeedTest> tests_of(const Options& options) {
  std::vector<SpeedTest> both, tests;
  for (const std::string& text : options.both) both.push_back(prompt_and_generate(text));
  for (const int64_t depth : options.depths) {
    for (const int64_t sequences : options.sequences) {
      for (const int64_t n : options.prompts) {
        if (n > 0) tests.push_back({n, 0, sequences, depth});
      }
      for (const int64_t n : options.generates) {
        if (n > 0) tests.push_back({0, n, sequences, depth});
      }
      for (const SpeedTest& b : both) tests.push_back({b.prompt, b.generate, sequences, depth});
    }
  }
  for (SpeedTest& test : tests) test.cache = options.cache;
  if (tests.empty()) fail("bench: nothing to measure: give prompt tokens (-p), tokens to generate (-n) or both (--pg)");
  return tests;
}

/// With so many threads.
void measure(const ModelSource& source, const std::vector<SpeedTest>& tests, const Options& options, int threads,
             Report& report) {
  ThreadPool pool(threads);
  LoadedModel loaded = load_model(source, pool, options.load, options.rounding, false);
  Transformer& model = loaded.model;
  MachineLimits limits(pool);
  report.weight_bytes = model.weight_bytes();
  report.load_seconds = loaded.seconds;
  std::vector<SpeedResult> results;
  Progress progress("bench", tests.size());
  for (const SpeedTest& test : tests) {
    results.push_back(measure_speed(model, source, test, options.repetitions, limits));
    progress.add(1);
  }
  for (const SpeedResult& r : results) {  // beside the best limits of the whole run
    report.rows.push_back(
        {r, pool.size(), r.fraction_of_limit(limits), r.bound_by_memory(limits) ? "memory" : "arithmetic"});
  }
  report.limits.push_back({pool.size(), limits.read_bytes(), limits.code_operations(), limits.float_operations(),
                           limits.bf16_operations()});
}

Json json(const Report& report) {
  Json limits = Json::array(), results = Json::array();
  for (const Limits& l : report.limits) {
    limits.push_back({{"threads", l.threads},
                      {"stream_read_bytes_per_second", l.read_bytes},
                      {"int8_operations_per_second", l.code_operations},
                      {"f32_operations_per_second", l.float_operations},
                      {"bf16_operations_per_second", l.bf16_operations}});
  }
  for (const Row& row : report.rows) {
    const SpeedTest& t = row.result.test;
    results.push_back({{"test", t.name()},
                       {"prompt", t.prompt},
                       {"generate", t.generate},
                       {"sequences", t.sequences},
                       {"depth", t.depth},
                       {"threads", row.threads},
                       {"tokens_per_second", row.result.tokens_per_second()},
                       {"deviation", row.result.deviation()},
                       {"seconds", row.result.seconds},
                       {"fraction_of_limit", row.fraction},
                       {"limit", row.limit}});
  }
  return {{"model", report.model},
          {"kernels", kernels().name},
          {"activations", name(report.rounding)},
          {"weight_bytes", report.weight_bytes},
          {"load_seconds", report.load_seconds},
          {"limits", limits},
          {"results", results}};
}

void print_csv(const Report& report) {
  fmt::print(
      "model,kernels,threads,test,prompt,generate,sequences,depth,repetitions,tokens_per_second,deviation,"
      "fraction_of_limit,limit\n");
  std::string model = "\"";  // a name may hold a comma, or a quotation mark: doubled then
  for (const char c : report.model) model.append(c == '"' ? 2 : 1, c);
  model += '"';
  for (const Row& row : report.rows) {
    const SpeedTest& t = row.result.test;
    fmt::print("{},{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.4f},{}\n", model, kernels().name, row.threads, t.name(),
               t.prompt, t.generate, t.sequences, t.depth, row.result.seconds.size(), row.result.tokens_per_second(),
               row.result.deviation(), row.fraction, row.limit);
  }
}

void print_table(const Report& report) {
  fmt::print("{}: {} of weights, ready in {:.2f} s, {} kernels\n", report.model, human_bytes(report.weight_bytes),
             report.load_seconds, kernels().name);
  for (const Limits& l : report.limits) {
    const std::string arithmetic = l.code_operations == 0
                                       ? std::string("what it computes is not known for this CPU")
                                       : fmt::format("{:.0f} Gop/s on int8, {:.0f} Gop/s in F32",
                                                     l.code_operations / 1e9, l.float_operations / 1e9);
    const std::string bf16 = l.bf16_operations == 0 ? "" : fmt::format(", {:.0f} in BF16", l.bf16_operations / 1e9);
    fmt::print("{} thread{} at best: reads {:.1f} GB/s, {}{}\n", l.threads, l.threads == 1 ? "" : "s",
               l.read_bytes / 1e9, arithmetic, bf16);
  }
  size_t width = 4;
  for (const Row& row : report.rows) width = std::max(width, row.result.test.name().size());
  fmt::print(
      "\n| {:<{}} | threads |           tokens/s | of the limit by     "
      "|\n|{:-<{}}|--------:|-------------------:|---------------------|\n",
      "test", width, "", width + 2);
  for (const Row& row : report.rows) {
    fmt::print("| {:<{}} | {:>7} | {:>9.2f} ± {:>6.2f} | {:>5.1f} % {:<11} |\n", row.result.test.name(), width,
               row.threads, row.result.tokens_per_second(), row.result.deviation(), 100 * row.fraction, row.limit);
  }
}

void bench(const Common& common, const Options& options) {
  const std::vector<SpeedTest> tests = tests_of(options);
  const ModelSource source = open_model(options.model);
  Report report;
  report.model = options.model;
  report.rounding = options.rounding;
  const std::vector<int> threads = options.threads.empty() ? std::vector<int>{0} : options.threads;
  for (const int n : threads) measure(source, tests, options, n, report);
  if (common.json || options.output == "json") return print_json(json(report));
  if (options.output == "csv") return print_csv(report);
  print_table(report);
}

/// A comma-separated list of numbers.
template <typename T>
void add_list(CLI::App* command, const std::string& name, std::vector<T>& values, const std::string& description,
              int64_t least, int64_t most) {
  command->add_option(name, values, description)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(least, most));
}

}  // namespace

void add_bench(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, common, "bench", "Measure prompt and generation speed beside this machine's limits",
                  "  lowbit bench llama-7b-q4_k_m.gguf\n"
                  "  lowbit bench llama-7b-q4_k_m.gguf -p 128,512 -n 64 -d 0,4096 -t 4,8\n"
                  "  lowbit bench llama-7b-q4_k_m.gguf -p 0 -n 32 --npl 1,8,32 -o csv\n\n"
                  "The limit of a pass is the time to read its weights, keys and values once, or the time of its\n"
                  "products, whichever is longer, by what this machine reads and computes at best in the same run.");
  command->add_option("model,-m,--model", options->model, "Hugging Face directory or GGUF file")->required();
  add_list(command, "-p,--prompt,--n-prompt", options->prompts, "Prompt tokens (pp), a list; 0: none; default: 512", 0,
           kMostTokens);
  add_list(command, "-n,--predict,--n-gen", options->generates,
           "Tokens to generate (tg), a list; 0: none; default: 128", 0, kMostTokens);
  command->add_option("--pg", options->both, "Both in one: PROMPT,GENERATE; may be repeated")->allow_extra_args(false);
  add_list(command, "-d,--depth,--n-depth", options->depths,
           "Tokens already in the context (those after 512 are copies), a list; default: 0", 0, kMostTokens);
  add_list(command, "--npl,--parallel", options->sequences, "Sequences side by side, a list; default: 1", 1, 1024);
  add_cache_type(command, options->cache);
  add_load_options(command, options->load);
  add_rounding_option(command, options->rounding);
  command->remove_option(command->get_option("--threads"));
  add_list(command, "-t,--threads", options->threads, "Threads, a list; default: the processors there are", 1, 1024);
  command
      ->add_option("-r,--repetitions", options->repetitions, "Repetitions: their mean and standard deviation are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("-o,--output", options->output, "md, csv or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"md", "csv", "json"}));
  command->callback([&common, options] { bench(common, *options); });
}

}  // namespace lowbit
