// What the commands of the program share. Each command is one thin file that adds itself to the parser.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/thread_pool.h"
#include "base/units.h"
#include "model/kv_cache.h"

namespace lowbit {

/// Options that every command has.
struct Common {
  bool json = false;  ///< one JSON object on standard output, nothing else there
  int threads = 0;    ///< 0: as many as there are processors
  std::string log_level = "info";

  bool quiet() const { return log_level == "error"; }
};

/// Adds a command with the common options; `examples` is shown at the end of its --help.
CLI::App* add_command(CLI::App& app, Common& common, const std::string& name, const std::string& description,
                      const std::string& examples);

/// Prints the object that --json promises.
void print_json(const Json& result);

/// Memory this process has held at most, in bytes.
uint64_t peak_memory_bytes();
/// Memory it holds now.
uint64_t resident_memory_bytes();

/// Adds --cache-type.
void add_cache_type(CLI::App* command, KvType& type);

void add_convert(CLI::App& app, Common& common);
void add_quantize(CLI::App& app, Common& common);
void add_calibrate(CLI::App& app, Common& common);
void add_run(CLI::App& app, Common& common);
void add_eval(CLI::App& app, Common& common);
void add_inspect(CLI::App& app, Common& common);
void add_verify(CLI::App& app, Common& common);
void add_methods(CLI::App& app, Common& common);
void add_bench(CLI::App& app, Common& common);
void add_tokenize(CLI::App& app, Common& common);

}  // namespace lowbit
