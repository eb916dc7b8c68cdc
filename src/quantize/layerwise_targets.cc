// What GGUF files and Hugging Face directories make of layer-by-layer rounding.
#include <algorithm>
#include <map>

#include "quantize/assign/gptq_groups.h"
#include "quantize/encode.h"
#include "quantize/layerwise.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

constexpr int64_t kRowsPerTask = 16;  // the lanes of encode_rows_gptq

/// Weights by name, and the rows of a matrix read in parallel: what both have in common.
template <typename PlannedTensorType>
class Target : public LayerwiseTarget {
 public:
  Target(const std::vector<PlannedTensorType>& tensors, const ModelSource& source, ThreadPool& pool)
      : tensors_(tensors), source_(source), pool_(pool) {
    for (size_t i = 0; i < tensors.size(); ++i) index_[gguf_name(tensors[i].tensor.id)] = i;
  }
  std::string name(const WeightId& id) const override { return planned(id).tensor.name; }
  std::vector<float> weights(const WeightId& id) override { return read_weights(source_, planned(id).tensor, pool_); }

 protected:
  size_t index(const WeightId& id) const { return index_.at(gguf_name(id)); }
  const PlannedTensorType& planned(const WeightId& id) const { return tensors_[index(id)]; }

  const std::vector<PlannedTensorType>& tensors_;
  const ModelSource& source_;
  ThreadPool& pool_;

 private:
  std::map<std::string, size_t> index_;
};

class GgufTarget : public Target<PlannedTensor> {
 public:
  GgufTarget(const Plan& plan, const ModelSource& source, TensorWriter& writer, ThreadPool& pool)
      : Target(plan.tensors, source, pool), writer_(writer) {}

  bool rounds(const WeightId& id) const override {
    return planned(id).layerwise && planned(id).encoding->kind == EncodingKind::Block;
  }
  const Encoding& dense(const WeightId& id) const override { return *planned(id).encoding; }
  std::string encoding(const WeightId& id) const override { return std::string(planned(id).encoding->name); }

  std::vector<int64_t> hf_order(const WeightId& id, int64_t rows) const override {
    const ModelConfig& config = source_.config;
    if (!config.architecture->rope_interleaved_in_gguf) return {};
    if (id.role == Role::Q) return split_rows(rows, config.heads);
    if (id.role == Role::K) return split_rows(rows, config.kv_heads);
    return {};
  }

  bool round(const WeightId& id, std::vector<float>& weights, int64_t rows, const GptqProblem& problem) override {
    writer_.write(index(id), 0, encode(id, weights, rows, problem));
    return true;
  }
  void preview(const WeightId& id, std::vector<float>& weights, int64_t rows,
               const std::vector<float>& importance) const override {
    GptqProblem nearest;
    nearest.importance = importance;
    encode(id, weights, rows, nearest);
  }
  void put(const WeightId& id, std::vector<float>& values) override {
    const auto count = static_cast<int64_t>(values.size());
    std::vector<std::byte> bytes(dense(id).bytes(values.size()));
    encode_float(dense(id), values.data(), count, bytes.data());
    decode(dense(id), bytes.data(), count, values.data());
    writer_.write(index(id), 0, bytes);
  }

 private:
  /// The bytes of the rounded weights, which are replaced by what they decode to.
  std::vector<std::byte> encode(const WeightId& id, std::vector<float>& weights, int64_t rows,
                                const GptqProblem& problem) const {
    const PlannedTensor& tensor = planned(id);
    const Encoding& encoding = *tensor.encoding;
    const int64_t cols = tensor.tensor.cols();
    const uint64_t row_bytes = encoding.bytes(static_cast<uint64_t>(cols));
    std::vector<std::byte> bytes(static_cast<uint64_t>(rows) * row_bytes);
    pool_.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t first = task * kRowsPerTask, count = std::min(kRowsPerTask, rows - first);
      float* in = weights.data() + first * cols;
      std::byte* out = bytes.data() + static_cast<uint64_t>(first) * row_bytes;
      if (problem.spread.cols > 0) {
        encode_rows_gptq(encoding, in, count, problem, out);
      } else {
        encode_rows(encoding, Search::Weighted, in, count, cols, problem.importance.data(), out);
      }
      decode(encoding, out, count * cols, in);
    });
    return bytes;
  }

  TensorWriter& writer_;
};

class DirectoryTarget : public Target<DirectoryTensor> {
 public:
  DirectoryTarget(const DirectoryPlan& plan, const GroupScheme& scheme, const ModelSource& source,
                  DirectoryWriter& writer, ThreadPool& pool)
      : Target(plan.tensors, source, pool), scheme_(scheme), writer_(writer) {}

  bool rounds(const WeightId& id) const override { return planned(id).quantized; }
  const Encoding& dense(const WeightId& id) const override { return *planned(id).dense; }
  std::string encoding(const WeightId&) const override { return scheme_.name; }
  std::vector<int64_t> hf_order(const WeightId&, int64_t) const override { return {}; }

  bool round(const WeightId& id, std::vector<float>& weights, int64_t rows, const GptqProblem& problem) override {
    const int64_t cols = planned(id).cols();
    const bool solved = problem.spread.cols > 0 && has_gptq_grid(scheme_.format, cols);
    const GroupMatrix matrix =
        solved ? quantize_groups_gptq(scheme_.format, scheme_.search, weights.data(), rows, problem, pool_)
               : quantize_groups(scheme_.format, scheme_.search, weights.data(), rows, cols, problem.importance.data(),
                                 pool_);
    decode(matrix, weights.data());
    writer_.put(index(id), matrix);
    return solved;
  }
  void preview(const WeightId& id, std::vector<float>& weights, int64_t rows,
               const std::vector<float>& importance) const override {
    decode(quantize_groups(scheme_.format, scheme_.search, weights.data(), rows, planned(id).cols(), importance.data(),
                           pool_),
           weights.data());
  }
  void put(const WeightId& id, std::vector<float>& values) override {
    writer_.put_dense(index(id), values);
    const auto count = static_cast<int64_t>(values.size());
    std::vector<std::byte> bytes(dense(id).bytes(values.size()));
    encode_float(dense(id), values.data(), count, bytes.data());
    decode(dense(id), bytes.data(), count, values.data());
  }

 private:
  const GroupScheme& scheme_;
  DirectoryWriter& writer_;
};

}  // namespace

std::unique_ptr<LayerwiseTarget> gguf_target(const Plan& plan, const ModelSource& source, TensorWriter& writer,
                                             ThreadPool& pool) {
  return std::make_unique<GgufTarget>(plan, source, writer, pool);
}

std::unique_ptr<LayerwiseTarget> directory_target(const DirectoryPlan& plan, const GroupScheme& scheme,
                                                  const ModelSource& source, DirectoryWriter& writer,
                                                  ThreadPool& pool) {
  return std::make_unique<DirectoryTarget>(plan, scheme, source, writer, pool);
}

}  // namespace lowbit
