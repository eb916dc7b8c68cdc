#include <fmt/core.h>
#include <malloc.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "base/signals.h"
#include "cli/command.h"

namespace {

enum ExitCode { kDone = 0, kFailed = 1, kWrongUsage = 2 };

/// In CLI11's order, the last one first. llama.cpp's options of several letters after one dash get the second dash.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> out;
  for (int i = argc - 1; i > 0; --i) {
    const std::string argument = argv[i];
    const bool long_option = argument == "-pg" || argument == "-npl";
    out.push_back(long_option ? "-" + argument : argument);
  }
  return out;
}

int run(int argc, char** argv) {
  lowbit::Common common;
  CLI::App app{
      "lowbit makes large language models small and fast: it quantizes, measures what was lost, and runs them.",
      "lowbit"};
  app.set_version_flag("--version", std::string("lowbit ") + LOWBIT_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "A MODEL is a Hugging Face directory or a GGUF file (of a split one: the first part).\n\n"
      "  lowbit quantize ./llama-7b llama-7b-q4_k_m.gguf Q4_K_M\n"
      "  lowbit run llama-7b-q4_k_m.gguf -p \"Hello, I am\" -n 128\n"
      "  lowbit eval llama-7b-q4_k_m.gguf --text wiki.test.raw --reference ./llama-7b\n\n"
      "lowbit COMMAND --help explains each command by example.");
  lowbit::add_convert(app, common);
  lowbit::add_quantize(app, common);
  lowbit::add_calibrate(app, common);
  lowbit::add_run(app, common);
  lowbit::add_eval(app, common);
  lowbit::add_bench(app, common);
  lowbit::add_inspect(app, common);
  lowbit::add_verify(app, common);
  lowbit::add_methods(app, common);
  lowbit::add_tokenize(app, common);
  try {
    app.parse(arguments(argc, argv));
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kDone : kWrongUsage;
  }
  return kDone;
}

}  // namespace

int main(int argc, char** argv) {
  // Large blocks are given back as soon as they are free, whatever was allocated after them: without it the layers of a
  // quantization leave holes in the heap that no later layer fits in.
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  lowbit::remove_temporaries_on_interrupt();
  try {
    return run(argc, argv);
  } catch (const lowbit::Error& e) {
    fmt::print(stderr, "lowbit: error: {}\n", e.what());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "lowbit: error: out of memory; use a smaller --ctx, fewer --threads or a smaller model\n");
  } catch (const std::filesystem::filesystem_error& e) {
    fmt::print(stderr, "lowbit: error: {}: {}\n", lowbit::one_line(e.path1().string()), e.code().message());
  } catch (const std::exception& e) {
    fmt::print(stderr, "lowbit: error: {} (this is a defect of lowbit: please report it)\n", e.what());
  }
  return kFailed;
}
