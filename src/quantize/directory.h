// Quantized Hugging Face directories, written: which module gets what, then module by module into the dialect's
// tensors.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "container/safetensors.h"
#include "encoding/group.h"
#include "model/layout.h"
#include "quantize/scheme.h"

namespace lowbit {

struct DirectoryTensor {
  OutputTensor tensor;
  bool quantized = false;
  const Encoding* dense = nullptr;  ///< how it is stored if it is not quantized
  std::string refusal;              ///< why a matrix that the scheme speaks of stays dense
  uint64_t bytes = 0;               ///< of all its pieces

  int64_t rows() const { return tensor.rows(); }
  int64_t cols() const { return tensor.cols(); }
  /// "model.layers.0.self_attn.q_proj"
  std::string module() const { return tensor.name.substr(0, tensor.name.rfind('.')); }
};

struct DirectoryPlan {
  std::vector<DirectoryTensor> tensors;
  int64_t parameters = 0;
  uint64_t bytes = 0;
  std::vector<std::string> skipped;  ///< modules that stay dense, for the config
  Json provenance;                   ///< for config.json (quantize/provenance.h); null: none

  double bits_per_weight() const { return 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters); }
};

struct DirectoryOptions {
  bool strict = false;            ///< a matrix that the dialect cannot hold is an Error
  bool allow_requantize = false;  ///< take an already quantized source
};

/// What a model's floats are: the type of its embedding if that is a float, otherwise F16.
EncodingId float_type(const ModelSource& source);

/// Throws Error for an already quantized source, and if the dialect could hold no matrix at all.
DirectoryPlan plan_directory(const ModelSource& source, const GroupScheme& scheme, const DirectoryOptions& options);

/// A directory in the making: nothing readable is in it before finish(). Methods that find matrices in an order of
/// their own (layer by layer, on compensated weights) put() them as they come.
class DirectoryWriter {
 public:
  /// Throws Error if the folder cannot be written, or is the source itself.
  DirectoryWriter(const ModelSource& source, const GroupScheme& scheme, const DirectoryPlan& plan,
                  const std::filesystem::path& folder);

  /// All tensors that stay dense, except those of `changed`: names of plan tensors that put_dense() brings.
  void write_dense(const std::vector<std::string>& changed, ThreadPool& pool);
  /// A dense tensor (a norm into which a transform was folded): elements in row-major order.
  void put_dense(size_t tensor, const std::vector<float>& values);
  /// A quantized matrix; `tensor` is its index in the plan. Thread-safe for different tensors.
  void put(size_t tensor, const GroupMatrix& matrix);
  /// Writes the tokenizer's files and the configs; config.json comes last. Throws Error if a tensor is missing.
  void finish();

 private:
  void write_companions() const;

  const ModelSource& source_;
  const GroupScheme& scheme_;
  const DirectoryPlan& plan_;
  const std::filesystem::path folder_;
  Json config_;
  std::vector<size_t> first_;  // by plan index: its (first) tensor of the writer
  std::unique_ptr<SafetensorsWriter> writer_;
};

/// Rows of a planned tensor as floats, in the output's order of rows: out[count * cols]. Finite, or Error.
std::vector<float> read_weights(const ModelSource& source, const OutputTensor& tensor, int64_t first, int64_t count,
                                ThreadPool& pool);

/// Whether random tokens tell the scheme's search what matters, if there is no calibration: its other rules look at the
/// weights alone.
inline bool weighs_random_tokens(const GroupScheme& scheme) { return scheme.search == GroupSearch::Squares; }

/// The data-free whole: every matrix by the scheme's own search, least squares weighted by what RandomTokens sees.
/// Memory: one layer. Returns the bytes of the tensors.
uint64_t write_directory(const ModelSource& source, const GroupScheme& scheme, const DirectoryPlan& plan,
                         const std::filesystem::path& folder, ThreadPool& pool);

}  // namespace lowbit
