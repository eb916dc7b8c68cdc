// Quantization from calibration inputs, layer by layer: a transform folds scales into the layer, then each matrix sees
// the inputs that it will meet in the quantized model, and is rounded so that its product with them stays close to the
// original model's: by GPTQ, or to the nearest codes weighted by those inputs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "container/gguf.h"
#include "quantize/assign/gptq.h"
#include "quantize/directory.h"
#include "quantize/layerwise/journal.h"
#include "quantize/plan.h"
#include "quantize/transform/search.h"

namespace lowbit {

struct LayerwiseOptions {
  TransformOptions transform{};
  bool gptq = true;       ///< otherwise the nearest codes, weighted by the mean squares of the inputs
  double damping = 0.01;  ///< of the mean of H's diagonal, added to it
  /// The inputs that a matrix's product is compared on: 0 = the quantized model's, 1 = the original's against those.
  double alpha = 0.5;
  /// How much of the error in the residual stream attention output and down projection are asked to cancel.
  double beta = 0.5;
  int sweeps = 2;                           ///< of coordinate descent after GPTQ
  ColumnOrder order = ColumnOrder::Stored;  ///< of GPTQ; not every target can store Activation
  bool input_peaks = false;                 ///< take GptqProblem::input_peak, for static activations
  bool rehearsal = false;                   ///< stop after the first layer
  /// A folder: what is kept of tokens from step to step (hidden states, attention outputs, activated gates) goes to a
  /// temporary file there. Empty: it stays in memory. The bytes of the result are the same.
  std::filesystem::path spill{};
};

/// What round() of a LayerwiseTarget has done.
struct Rounded {
  std::vector<std::byte> stored;  ///< what restore() and as_run() take
  bool solved;                    ///< false if GPTQ was asked for but the format has no grid for it
};

/// Where rounded matrices go: what a container and its encodings make of the common work.
class LayerwiseTarget : public RoundingPreview {
 public:
  virtual std::string name(const WeightId& id) const = 0;
  virtual std::string encoding(const WeightId& id) const = 0;
  /// Consecutive columns of a rounded matrix that share parameters.
  virtual int64_t block(const WeightId& id) const = 0;
  /// Consecutive columns whose range round() would choose by the error of their output, given GptqProblem::grams; 0:
  /// none.
  virtual int64_t clipped_group(const WeightId& id) const = 0;
  /// Rounds and stores rows [first, first + rows) and replaces `weights` by what a reader will decode. Without
  /// problem.spread, to the nearest codes.
  virtual Rounded round(const WeightId& id, int64_t first, std::vector<float>& weights, int64_t rows,
                        const GptqProblem& problem) = 0;
  /// Stores a weight that is not rounded, and replaces `values` by what a reader will decode. Returns what restore()
  /// takes.
  virtual std::vector<std::byte> put(const WeightId& id, std::vector<float>& values) = 0;
  /// Stores again what round() or put() stored, and returns what a reader will decode. Throws Error if it is not what
  /// they returned.
  virtual std::vector<float> restore(const JournalPiece& piece) = 0;
  /// A rounded matrix as the engine runs it, from what round() returned for all of its rows. Throws Error as restore().
  virtual Linear as_run(const WeightId& id, std::span<const std::byte> stored) const = 0;
};

/// For a GGUF file: the plan's `layerwise` tensors, into the plan's writer.
std::unique_ptr<LayerwiseTarget> gguf_target(const Plan& plan, const ModelSource& source, TensorWriter& writer,
                                             ThreadPool& pool);
/// For a Hugging Face directory; without a writer nothing is stored (a rehearsal).
std::unique_ptr<LayerwiseTarget> directory_target(const DirectoryPlan& plan, const GroupScheme& scheme,
                                                  const ModelSource& source, DirectoryWriter* writer, ThreadPool& pool);

/// Whether the original model runs beside the quantized one.
inline bool follows_original(const LayerwiseOptions& o) { return o.gptq && (o.alpha > 0 || o.beta > 0); }

/// What round_layerwise() needs at most, in bytes.
struct LayerwiseNeeds {
  uint64_t memory = 0;   ///< beyond the program itself
  uint64_t spilled = 0;  ///< the same with LayerwiseOptions::spill
  uint64_t disk = 0;     ///< that takes then, beside the output and the journal
};
LayerwiseNeeds layerwise_needs(const ModelSource& source, int64_t tokens, int64_t length,
                               const LayerwiseOptions& options);

/// Rounds a model. `tokens` are calibration sequences of `length` tokens each, one after another. What is stored does
/// not depend on the number of threads, nor on what of it comes from `journal` (or nullptr). Throws Error for inputs
/// that are not finite.
std::vector<MatrixReport> round_layerwise(const ModelSource& source, std::span<const int32_t> tokens, int64_t length,
                                          const LayerwiseOptions& options, LayerwiseTarget& target, ThreadPool& pool,
                                          Journal* journal = nullptr);

}  // namespace lowbit
