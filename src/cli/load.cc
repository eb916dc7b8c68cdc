#include "cli/load.h"

#include <fmt/core.h>

#include <chrono>
#include <map>
#include <optional>

#include "cli/memory.h"
#include "model/transformer_weights.h"

namespace lowbit {

void add_load_options(CLI::App* command, LoadOptions& options) {
  command->add_option(
      "--repack-cache", options.repack_cache,
      "Folder to keep the weights in as this program holds them in memory: the next start only reads them");
}

void add_rounding_option(CLI::App* command, ActivationRounding& rounding) {
  std::map<std::string, ActivationRounding> known;
  for (const ActivationRounding r : {ActivationRounding::Fast, ActivationRounding::Fine}) known.emplace(name(r), r);
  rounding = ActivationRounding::Fast;
  command
      ->add_option_function<std::string>(
          "--activations", [&rounding, known](const std::string& wanted) { rounding = known.at(wanted); },
          "fast (default): what this processor multiplies fastest. On AMD with AVX-512, F16 weights and the inputs of "
          "16-bit weights are rounded to BF16, the inputs of K-quants and IQ4_XS to 8 bits with a scale in 256 columns "
          "and powers of two below it. fine: floats stay exact, the inputs of all others have a scale every 32. lowbit "
          "eval --activations fast tells what is lost")
      ->check(CLI::IsMember(known));
}

std::string_view name(ActivationRounding rounding) {
  return rounding == ActivationRounding::Fast ? "fast" : rounding == ActivationRounding::Fine ? "fine" : "llama.cpp";
}

LoadedModel load_model(const ModelSource& source, ThreadPool& pool, const LoadOptions& options,
                       ActivationRounding rounding, bool told, uint64_t context_bytes) {
  if (told) {
    const uint64_t weights = weight_memory(source), available = available_memory_bytes();
    fmt::print(stderr, "{}: needs {} for weights{}; {} are available{}\n", source.path.string(), human_bytes(weights),
               context_bytes == 0 ? "" : fmt::format(", {} for keys and values", human_bytes(context_bytes)),
               human_bytes(available),
               weights + context_bytes <= available ? "" : ": that will not fit, or slow everything down");
  }
  const auto start = std::chrono::steady_clock::now();
  std::optional<RepackCache> cache;
  if (!options.repack_cache.empty()) cache.emplace(options.repack_cache, source);
  const bool from_cache = cache && cache->filled();
  LoadedModel out{Transformer(source, pool, rounding, cache ? &*cache : nullptr), 0};
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (cache && !cache->note().empty()) fmt::print(stderr, "warning: --repack-cache: {}\n", cache->note());
  if (told) {
    fmt::print(stderr, "{}: ready in {:.2f} s{}; holds {}\n", source.path.string(), out.seconds,
               from_cache ? fmt::format(", packed before ({})", cache->path().string()) : "",
               human_bytes(resident_memory_bytes()));
  }
  return out;
}

}  // namespace lowbit
