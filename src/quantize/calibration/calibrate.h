// Which input channels matter: squared activations gathered over a text (llama.cpp's importance matrix).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "container/imatrix.h"
#include "model/transformer.h"
#include "quantize/calibration/text.h"
#include "text/tokenizer.h"

namespace lowbit {

/// Adds x[tokens, cols]^2 to sums[cols], in binary64, one token after another: the same for any number of threads.
void add_squares(const float* x, int64_t tokens, int64_t cols, double* sums, ThreadPool& pool);

/// Sums the squares of each matrix's inputs.
class SquareSums : public Tap {
 public:
  explicit SquareSums(ThreadPool& pool) : pool_(pool) {}

  void input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) override;
  /// Mean squares of the channels that the matrix has seen.
  std::vector<float> means(const WeightId& weight) const;
  /// Throws Error for inputs that are not finite.
  ImportanceMatrix result() const;

 private:
  struct Entry {
    std::vector<double> sums;
    int64_t tokens = 0;
  };
  ThreadPool& pool_;
  std::map<std::string, Entry> entries_;
};

struct CalibrateOptions {
  int64_t chunk = 512;         ///< tokens a chunk; each starts from an empty context (with BOS if the model wants one)
  int64_t chunks = 0;          ///< at most so many; 0: all full chunks of the text
  bool parse_special = false;  ///< read special tokens out of the text (chat transcripts)
};

/// Runs `text` through the model and sums x^2 for each input channel of each matrix of each layer, in binary64. Entries
/// are named as in GGUF ("blk.0.attn_q.weight"); `dataset` is kept for the file's metadata. The same for any number of
/// threads. Progress on standard error. Throws Error for a text shorter than two chunks, for a chunk that the model
/// cannot hold, and for activations that are not finite.
ImportanceMatrix calibrate(Transformer& model, const Tokenizer& tokenizer, std::string_view text,
                           const std::string& dataset, const CalibrateOptions& options);

/// The same over samples that are cut already (calibration_tokens).
ImportanceMatrix calibrate(Transformer& model, const CalibrationTokens& samples);

}  // namespace lowbit
