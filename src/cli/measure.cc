#include "cli/measure.h"

#include <fmt/core.h>

#include <optional>

#include "base/file.h"
#include "base/hash.h"
#include "model/source.h"

namespace lowbit {
namespace {

/// A model with its tokenizer, ready to run; the transformer reads from the source as long as it lives.
struct Loaded {
  ModelSource source;
  Tokenizer tokenizer;
  Transformer transformer;

  Loaded(const std::string& path, ThreadPool& pool, ActivationRounding rounding, const LoadOptions& load)
      : source(open_model(path)),
        tokenizer(read_tokenizer(source)),
        transformer(load_model(source, pool, load, rounding, false).model) {}
  EvaluatedModel view() { return {transformer, tokenizer, source.path.string()}; }
};

std::string hash_text(const Hash& hash) { return "xxh3:" + hash.hex(); }

ActivationRounding rounding_of(const MeasureOptions& options) {
  if (options.activations == name(ActivationRounding::Fast)) return ActivationRounding::Fast;
  const bool fine = options.activations.empty() ? options.evaluate.hugging_face
                                                : options.activations == name(ActivationRounding::Fine);
  return fine ? ActivationRounding::Fine : ActivationRounding::LlamaCpp;
}

}  // namespace

Measurement measure(const std::string& model, const MeasureOptions& options, ThreadPool& pool) {
  const std::string text = read_text_file(options.text);
  Hash hash;
  hash.add(std::as_bytes(std::span(text)));
  const ActivationRounding rounding = rounding_of(options);
  Loaded loaded(model, pool, rounding, options.load);
  EvaluateOptions evaluation = options.evaluate;
  evaluation.text_name = options.text;
  if (options.reference.empty()) return {evaluate(loaded.view(), nullptr, text, evaluation), hash_text(hash)};
  // What models are run with is what is judged: the reference stays exact.
  const bool fast = rounding == ActivationRounding::Fast;
  Loaded reference(options.reference, pool, fast ? ActivationRounding::Fine : rounding, options.load);
  const EvaluatedModel view = reference.view();
  return {evaluate(loaded.view(), &view, text, evaluation), hash_text(hash)};
}

Json to_json(const Measurement& measurement, const MeasureOptions& options) {
  Json out = to_json(measurement.evaluation);
  out["text_hash"] = measurement.text_hash;
  out["hugging_face"] = options.evaluate.hugging_face;
  out["activations"] = name(rounding_of(options));
  return out;
}

std::string file_hash(const std::string& path) {
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  const MappedFile file(path);
  Hash hash;
  std::vector<std::byte> piece;
  for (uint64_t at = 0; at < file.bytes().size(); at += kPiece) {
    piece.resize(std::min<uint64_t>(kPiece, file.bytes().size() - at));
    file.read(at, piece);
    hash.add(std::span<const std::byte>(piece));
  }
  return hash_text(hash);
}

void print_evaluation(const Evaluation& e) {
  auto line = [&](const char* label, const Estimate& x, double scale, const char* unit) {
    fmt::print("  {:<26} {:>10.4f} ± {:.4f}{}\n", label, scale * x.value, kConfidence95 * scale * x.error, unit);
  };
  fmt::print("{} tokens scored, in {} chunks of {} ({:.1f} s); intervals are 95 %\n", e.tokens, e.chunks, e.context,
             e.seconds);
  line("perplexity", e.perplexity, 1, "");
  if (!e.divergence) return;
  const Divergence& d = *e.divergence;
  line("of the reference", d.reference_perplexity, 1, "");
  line("ratio", d.perplexity_ratio, 1, "");
  line("KL divergence, mean", d.mean_kld, 1, "");
  for (const auto& [label, value] :
       {std::pair{"median", d.median_kld}, {"99 %", d.kld_p99}, {"99.9 %", d.kld_p999}, {"maximum", d.max_kld}}) {
    fmt::print("  {:>26} {:>10.4f}\n", label, value);
  }
  line("same top token", d.top1_agreement, 100, " %");
  line("RMS change of probability", d.rms_delta_p, 100, " %");
}

}  // namespace lowbit
