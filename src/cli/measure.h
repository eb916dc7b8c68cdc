// Models on disk, loaded and measured: what `eval`, `quantize --eval` and `verify` share.
#pragma once

#include <string>

#include "base/json.h"
#include "cli/load.h"
#include "evaluate/perplexity.h"

namespace lowbit {

struct MeasureOptions {
  std::string text;       ///< file
  std::string reference;  ///< original model; empty: perplexity alone
  /// How activations are rounded to 8 bits: "llama.cpp", "fine" or "fast". Empty: each definition of perplexity with the
  /// arithmetic of those who defined it, so that figures can be compared with theirs.
  std::string activations;
  EvaluateOptions evaluate;
  LoadOptions load;
};

struct Measurement {
  Evaluation evaluation;
  std::string text_hash;
};
Measurement measure(const std::string& model, const MeasureOptions& options, ThreadPool& pool);

/// to_json(Evaluation), with what else decides the figures: text_hash, hugging_face, activations.
Json to_json(const Measurement& measurement, const MeasureOptions& options);

/// Of a file's contents: "xxh3:" and 32 hexadecimal digits. Throws Error for a file that cannot be read.
std::string file_hash(const std::string& path);

/// For people, on standard output.
void print_evaluation(const Evaluation& evaluation);

}  // namespace lowbit
