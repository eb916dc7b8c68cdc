#include "evaluate/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/progress.h"
#include "model/chunks.h"

namespace lowbit {
namespace {

// Rows of logits held at once, in bytes a model: small enough to stay in the last-level cache's neighbourhood.
constexpr int64_t kLogitBytes = int64_t{16} << 20;

/// One model's half of the work.
class Scorer {
 public:
  Scorer(const EvaluatedModel& model, int64_t context, KvType cache)
      : model_(model.transformer), name_(model.name), runner_(model.transformer, context, cache) {}

  int64_t batch() const { return runner_.batch(); }
  void run(std::span<const int32_t> chunks, int64_t used, int64_t first) { hidden_ = runner_.run(chunks, used, first); }

  /// Logits of rows [begin, begin + count) of the last run.
  void make_logits(int64_t begin, int64_t count) {
    const ModelConfig& c = model_.config();
    logits_.resize(static_cast<size_t>(count * c.vocab));
    model_.logits(hidden_.data() + begin * c.hidden, count, logits_.data());
  }
  std::span<const float> row(int64_t i) const {
    const int64_t vocab = model_.config().vocab;
    return {logits_.data() + i * vocab, static_cast<size_t>(vocab)};
  }
  TokenScore score_row(int64_t i, int32_t next) const {
    const TokenScore s = score(row(i), next);
    if (!std::isfinite(s.log_sum)) fail("{}: the model's logits are not finite: its weights are damaged", name_);
    return s;
  }
  int64_t vocab() const { return model_.config().vocab; }
  ThreadPool& pool() const { return model_.pool(); }

 private:
  Transformer& model_;
  const std::string& name_;
  ChunkRunner runner_;
  std::vector<float> hidden_, logits_;
};

std::vector<int32_t> cut(const EvaluatedModel& model, std::string_view text, const EvaluateOptions& options) {
  const ChunkOptions chunks{options.context, options.chunks, false, !options.hugging_face, options.text_name};
  return chunk_tokens(model.transformer.config(), model.tokenizer, text, chunks);
}

class Evaluator {
 public:
  Evaluator(const EvaluatedModel& model, const EvaluatedModel* reference, std::vector<int32_t> tokens,
            const EvaluateOptions& options)
      : options_(options),
        first_(options.hugging_face ? 0 : options.context / 2),
        tokens_(std::move(tokens)),
        model_(model, options.context, options.cache) {
    if (!reference) return;
    const int64_t vocab = model.transformer.config().vocab, other = reference->transformer.config().vocab;
    if (vocab != other) {
      fail("{} has a vocabulary of {} tokens and {} one of {}: compare models of the same tokenizer", model.name, vocab,
           reference->name, other);
    }
    reference_.emplace(*reference, options.context, KvType::F16);
  }

  Evaluation run() {
    const auto start = std::chrono::steady_clock::now();
    const size_t step = static_cast<size_t>(model_.batch() * options_.context);
    Progress progress("evaluating", tokens_.size());
    for (size_t begin = 0; begin < tokens_.size(); begin += step) {
      const size_t n = std::min(step, tokens_.size() - begin);
      add_chunks(std::span(tokens_).subspan(begin, n));
      progress.add(n, fmt::format("perplexity {:.4f}", std::exp(mean(nll_).value)));
    }
    Evaluation e;
    const Estimate nll = mean(nll_);
    e.perplexity = {std::exp(nll.value), std::exp(nll.value) * nll.error};
    e.tokens = static_cast<int64_t>(nll_.size());
    e.context = options_.context;
    e.chunks = static_cast<int64_t>(tokens_.size()) / options_.context;
    for (auto at = nll_.begin(); at != nll_.end(); at += scored()) {
      e.chunk_nll.push_back(mean(std::span(at, at + scored())).value);
    }
    if (reference_) e.divergence = divergence_.result();
    e.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return e;
  }

 private:
  /// Tokens of a chunk that count: the last one predicts nothing that is known.
  int64_t scored() const { return options_.context - 1 - first_; }

  void add_chunks(std::span<const int32_t> chunks) {
    const int64_t used = options_.context - 1, a_chunk = scored();
    model_.run(chunks, used, first_);
    if (reference_) reference_->run(chunks, used, first_);
    const int64_t rows = static_cast<int64_t>(chunks.size()) / options_.context * a_chunk;
    std::vector<int32_t> next(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
      next[static_cast<size_t>(r)] =
          chunks[static_cast<size_t>(r / a_chunk * options_.context + first_ + r % a_chunk + 1)];
    }
    const int64_t vocab = model_.vocab();
    const int64_t block = std::max<int64_t>(1, kLogitBytes / (vocab * int64_t{sizeof(float)}));
    for (int64_t begin = 0; begin < rows; begin += block) {
      add_rows(begin, std::span<const int32_t>(next).subspan(static_cast<size_t>(begin),
                                                             static_cast<size_t>(std::min(block, rows - begin))));
    }
  }

  void add_rows(int64_t begin, std::span<const int32_t> next) {
    const int64_t n = static_cast<int64_t>(next.size());
    struct Row {
      TokenScore model, reference;
      double kld = 0;
    };
    std::vector<Row> rows(next.size());
    model_.make_logits(begin, n);
    if (reference_) reference_->make_logits(begin, n);
    model_.pool().run(n, [&](int64_t i, int) {
      Row& row = rows[static_cast<size_t>(i)];
      row.model = model_.score_row(i, next[static_cast<size_t>(i)]);
      if (!reference_) return;
      row.reference = reference_->score_row(i, next[static_cast<size_t>(i)]);
      row.kld = kl_divergence(reference_->row(i), row.reference.log_sum, model_.row(i), row.model.log_sum);
    });
    for (const Row& row : rows) {
      nll_.push_back(row.model.nll);
      if (reference_) divergence_.add(row.model, row.reference, row.kld);
    }
  }

  const EvaluateOptions options_;
  const int64_t first_;                // the first position of a chunk that is scored
  const std::vector<int32_t> tokens_;  // of all chunks
  Scorer model_;
  std::optional<Scorer> reference_;
  std::vector<double> nll_;
  DivergenceCollector divergence_;
};

}  // namespace

Evaluation evaluate(const EvaluatedModel& model, const EvaluatedModel* reference, std::string_view text,
                    const EvaluateOptions& options) {
  std::vector<int32_t> tokens = cut(model, text, options);
  if (reference != nullptr && model.transformer.config().vocab == reference->transformer.config().vocab &&
      cut(*reference, text, options) != tokens) {
    fail("{} and {} split the text into different tokens: compare models of the same tokenizer", model.name,
         reference->name);
  }
  return evaluate(model, reference, std::move(tokens), options);
}

Evaluation evaluate(const EvaluatedModel& model, const EvaluatedModel* reference, std::vector<int32_t> tokens,
                    const EvaluateOptions& options) {
  return Evaluator(model, reference, std::move(tokens), options).run();
}

Json to_json(const Evaluation& e) {
  Json json;
  const auto put = [&](const std::string& key, const Estimate& value) {
    json[key] = value.value;
    json[key + "_error"] = value.error;
  };
  put("perplexity", e.perplexity);
  json["tokens"] = e.tokens;
  json["chunks"] = e.chunks;
  json["context"] = e.context;
  json["seconds"] = e.seconds;
  if (!e.divergence) return json;
  const Divergence& d = *e.divergence;
  put("reference_perplexity", d.reference_perplexity);
  put("perplexity_ratio", d.perplexity_ratio);
  put("mean_kld", d.mean_kld);
  json["median_kld"] = d.median_kld;
  json["kld_p90"] = d.kld_p90;
  json["kld_p95"] = d.kld_p95;
  json["kld_p99"] = d.kld_p99;
  json["kld_p999"] = d.kld_p999;
  json["max_kld"] = d.max_kld;
  put("top1_agreement", d.top1_agreement);
  put("mean_delta_p", d.mean_delta_p);
  put("rms_delta_p", d.rms_delta_p);
  return json;
}

}  // namespace lowbit
