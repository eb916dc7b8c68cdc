// What calibration inputs ask of the rounding of the matrices that share them: gathered slice by slice, then solved
// for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/assign/gptq.h"
#include "quantize/layerwise/group_grams.h"
#include "quantize/layerwise/linalg.h"

namespace lowbit {

struct LayerwiseOptions;

class LayerProblem {
 public:
  /// For matrices of `cols` columns. `residual`: the width of the residual stream if they write to it, else 0. `group`:
  /// of the columns whose GptqProblem::grams are wanted, or 0.
  LayerProblem(const LayerwiseOptions& options, int64_t cols, int64_t residual, ThreadPool& pool, int64_t group = 0);

  int64_t cols() const { return cols_; }
  int64_t tokens() const { return tokens_; }  ///< gathered
  bool wants_original() const { return !cross_.empty(); }
  bool wants_lacking() const { return !error_.empty(); }

  // Gathering. All are [tokens, cols] but `lacking`, what the quantized model's residual stream lacks, [tokens,
  // residual].
  void add_inputs(const float* quantized, int64_t tokens);
  void add_original(const float* quantized, const float* original, int64_t tokens);
  void add_lacking(const float* quantized, const float* lacking, int64_t tokens);

  /// The end of gathering. `what` names the inputs in the Error that is thrown if they are not finite.
  void close(const std::string& what);
  /// Brings forward what correct() needs of the one matrix there is, if that takes less memory than to keep it.
  void prepare(int64_t rows, const std::function<std::vector<float>(int64_t first, int64_t count)>& weights);
  /// Factors H, in the order of rounding, with as little damping as serves. `block`: columns that share parameters. Not
  /// for nearest codes.
  void factor(int64_t block);

  /// Spread is empty if H could not be factored, or was not.
  const GptqProblem& problem() const { return problem_; }
  double damping() const { return damping_; }  ///< that served, of the mean of H's diagonal; 0 if none did

  /// Makes of weights[rows, cols], rows `first` and on of a matrix, those whose product with the quantized model's
  /// inputs comes closest to what is wanted of it.
  void correct(int64_t first, int64_t rows, std::vector<float>& weights) const;
  /// sum over rows of e H e^T, without damping; for nearest codes, of H's diagonal alone.
  double energy(const std::vector<float>& errors, int64_t rows) const;

 private:
  std::vector<float> wanted(const float* weights, int64_t first, int64_t rows) const;

  const LayerwiseOptions& options_;
  const int64_t cols_;
  ThreadPool& pool_;
  int64_t tokens_ = 0;
  std::vector<double> squares_;  // sums of squares a channel, where no more is needed
  Gram inputs_, cross_, error_;
  GroupGramSums groups_;
  std::vector<float> pull_;    // [cols, cols] alpha (cross - H)
  std::vector<float> lack_;    // [residual, cols] beta error
  std::vector<float> wanted_;  // [rows, cols], brought forward
  GptqProblem problem_;
  double damping_ = 0, added_ = 0;  // added_: to the diagonal of problem_.hessian
};

}  // namespace lowbit
