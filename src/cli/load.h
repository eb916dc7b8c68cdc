// Models loaded to be run: what `run`, `eval` and `bench` share.
#pragma once

#include <string>
#include <string_view>

#include "cli/command.h"
#include "model/transformer.h"

namespace lowbit {

struct LoadOptions {
  std::string repack_cache;  ///< folder; empty: none
};

/// Adds --repack-cache.
void add_load_options(CLI::App* command, LoadOptions& options);

/// Adds --activations: Fast, the default, or Fine.
void add_rounding_option(CLI::App* command, ActivationRounding& rounding);
/// "fast", "fine" or "llama.cpp".
std::string_view name(ActivationRounding rounding);

struct LoadedModel {
  Transformer model;
  double seconds;  ///< that it took
};

/// `told`: says on standard error what memory it needs beside `context_bytes` of keys and values and what there is, and
/// what it took. What goes wrong with a cache is always said.
LoadedModel load_model(const ModelSource& source, ThreadPool& pool, const LoadOptions& options,
                       ActivationRounding rounding, bool told, uint64_t context_bytes = 0);

}  // namespace lowbit
