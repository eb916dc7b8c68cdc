// What GGUF files and Hugging Face directories make of layer-by-layer rounding.
#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "encoding/group_lower.h"
#include "quantize/assign/gptq_groups.h"
#include "quantize/encode.h"
#include "quantize/layerwise/layerwise.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

constexpr int64_t kWidestClipped = 256;  // columns: beyond it, comparing outputs takes longer than all else
constexpr int64_t kRowsPerTask = 16;     // the lanes of encode_rows_gptq

/// Bytes of `values` as a float type, and in their place what those decode to.
std::vector<std::byte> encode_dense(const Encoding& type, std::vector<float>& values) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> bytes(type.bytes(values.size()));
  encode_float(type, values.data(), count, bytes.data());
  decode(type, bytes.data(), count, values.data());
  return bytes;
}

[[noreturn]] void damaged_piece(const WeightId& id) {
  fail("the journal's {} is not what this job would store; remove the journal", gguf_name(id));
}

/// Weights by name, and the rows of a matrix read in parallel: what both have in common.
template <typename PlannedTensorType>
class Target : public LayerwiseTarget {
 public:
  Target(const std::vector<PlannedTensorType>& tensors, const ModelSource& source, ThreadPool& pool)
      : tensors_(tensors), source_(source), pool_(pool) {
    for (size_t i = 0; i < tensors.size(); ++i) index_[gguf_name(tensors[i].tensor.id)] = i;
  }
  std::string name(const WeightId& id) const override { return planned(id).tensor.name; }
  int64_t rows(const WeightId& id) const override { return planned(id).tensor.rows(); }
  std::vector<float> weights(const WeightId& id, int64_t first, int64_t count) override {
    return read_weights(source_, planned(id).tensor, first, count, pool_);
  }

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

  int64_t block(const WeightId& id) const override { return planned(id).encoding->block; }
  int64_t clipped_group(const WeightId&) const override { return 0; }
  std::vector<int64_t> hf_order(const WeightId& id) const override {
    return rotary_order(source_.config, id.role, false);
  }

  Rounded round(const WeightId& id, int64_t first, std::vector<float>& weights, int64_t rows,
                const GptqProblem& problem) override {
    std::vector<std::byte> bytes = encode(id, weights, rows, problem);
    writer_.write(index(id), offset(id, first), bytes);
    return {std::move(bytes), true};
  }
  void preview(const WeightId& id, std::vector<float>& weights, int64_t rows,
               const std::vector<float>& importance) const override {
    GptqProblem nearest;
    nearest.importance = importance;
    encode(id, weights, rows, nearest);
  }
  std::vector<std::byte> put(const WeightId& id, std::vector<float>& values) override {
    std::vector<std::byte> bytes = encode_dense(dense(id), values);
    writer_.write(index(id), 0, bytes);
    return bytes;
  }
  std::vector<float> restore(const JournalPiece& piece) override {
    const PlannedTensor& t = planned(piece.id);
    const uint64_t row_bytes = offset(piece.id, 1), at = offset(piece.id, piece.first_row);
    if (piece.bytes.size() % row_bytes != 0 || at + piece.bytes.size() > t.bytes) damaged_piece(piece.id);
    std::vector<float> out(piece.bytes.size() / row_bytes * static_cast<uint64_t>(t.tensor.cols()));
    decode(*t.encoding, piece.bytes.data(), static_cast<int64_t>(out.size()), out.data());
    writer_.write(index(piece.id), at, piece.bytes);
    return out;
  }
  Linear as_run(const WeightId& id, std::span<const std::byte> stored) const override {
    const PlannedTensor& t = planned(id);
    if (stored.size() != t.bytes) damaged_piece(id);
    const std::vector<int64_t> order = hf_order(id);
    Linear out;
    out.w = pack_matrix(*t.encoding, t.tensor.rows(), t.tensor.cols(), stored.data(),
                        order.empty() ? nullptr : order.data(), pool_);
    return out;
  }

 private:
  uint64_t offset(const WeightId& id, int64_t row) const {
    const PlannedTensor& t = planned(id);
    return static_cast<uint64_t>(row) * t.encoding->bytes(static_cast<uint64_t>(t.tensor.cols()));
  }

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
      if (!problem.spread.empty()) {
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

/// A group matrix as bytes, and back: codes, scales, zeros, what doubly quantized scales were computed from, and the
/// groups of columns if they are not in order.
std::vector<std::byte> group_bytes(const GroupMatrix& m) {
  std::vector<std::byte> out;
  const auto add = [&](const auto& values) {
    const auto bytes = std::as_bytes(std::span(values));
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  add(m.codes);
  add(m.scales);
  add(m.zeros);
  add(m.quantized_scales.codes);
  add(m.quantized_scales.block_scale);
  add(std::vector<float>{m.quantized_scales.offset, m.input_scale});
  add(m.group_of_column);
  return out;
}

/// Nothing if the bytes are of another size.
std::optional<GroupMatrix> group_matrix(std::span<const std::byte> bytes, const GroupFormat& format, int64_t rows,
                                        int64_t cols) {
  GroupMatrix m;
  m.format = format;
  m.rows = rows;
  m.cols = cols;
  m.resize();
  if (format.doubly_quantized) {
    m.quantized_scales.codes.resize(m.scales.size());
    m.quantized_scales.block_scale.resize((m.scales.size() + kScaleBlock - 1) / kScaleBlock);
  }
  std::vector<float> single(2);
  const auto take = [&](auto& values) {
    const auto to = std::as_writable_bytes(std::span(values));
    if (to.size() > bytes.size()) return false;
    std::copy_n(bytes.begin(), to.size(), to.begin());
    bytes = bytes.subspan(to.size());
    return true;
  };
  bool whole = take(m.codes) && take(m.scales) && take(m.zeros) && take(m.quantized_scales.codes) &&
               take(m.quantized_scales.block_scale) && take(single);
  if (whole && !bytes.empty()) {
    m.group_of_column.resize(static_cast<size_t>(cols));
    whole = take(m.group_of_column) && bytes.empty();
    const int64_t groups = groups_per_row(format, cols);
    for (const int32_t group : m.group_of_column) whole = whole && group >= 0 && group < groups;
  }
  m.quantized_scales.offset = single[0];
  m.input_scale = single[1];
  return whole ? std::optional(std::move(m)) : std::nullopt;
}

class DirectoryTarget : public Target<DirectoryTensor> {
 public:
  DirectoryTarget(const DirectoryPlan& plan, const GroupScheme& scheme, const ModelSource& source,
                  DirectoryWriter* writer, ThreadPool& pool)
      : Target(plan.tensors, source, pool), scheme_(scheme), writer_(writer) {}

  bool rounds(const WeightId& id) const override { return planned(id).quantized; }
  const Encoding& dense(const WeightId& id) const override { return *planned(id).dense; }
  std::string encoding(const WeightId&) const override { return scheme_.name; }
  int64_t block(const WeightId& id) const override { return group_columns(scheme_.format, planned(id).cols()); }
  int64_t clipped_group(const WeightId& id) const override {
    const bool possible = scheme_.search == GroupSearch::Squares && scheme_.format.span == GroupSpan::Row;
    return possible && block(id) <= kWidestClipped ? block(id) : 0;
  }
  std::vector<int64_t> hf_order(const WeightId&) const override { return {}; }

  Rounded round(const WeightId& id, int64_t, std::vector<float>& weights, int64_t rows,
                const GptqProblem& problem) override {
    const int64_t cols = planned(id).cols();
    const bool solved = !problem.spread.empty() && has_gptq_grid(scheme_.format, cols);
    GroupMatrix matrix =
        solved ? quantize_groups_gptq(scheme_.format, scheme_.search, weights.data(), rows, problem, pool_)
               : quantize_groups(scheme_.format, scheme_.search, weights.data(), rows, cols, problem.importance.data(),
                                 pool_, problem.grams.empty() ? nullptr : &problem.grams);
    decode(matrix, weights.data());
    if (scheme_.static_activations) matrix.input_scale = input_scale(problem.input_peak);
    if (writer_ != nullptr) writer_->put(index(id), matrix);
    return {group_bytes(matrix), solved};
  }
  void preview(const WeightId& id, std::vector<float>& weights, int64_t rows,
               const std::vector<float>& importance) const override {
    decode(quantize_groups(scheme_.format, scheme_.search, weights.data(), rows, planned(id).cols(), importance.data(),
                           pool_),
           weights.data());
  }
  std::vector<std::byte> put(const WeightId& id, std::vector<float>& values) override {
    std::vector<std::byte> bytes = encode_dense(dense(id), values);
    if (writer_ != nullptr) writer_->put_dense(index(id), values);
    return bytes;
  }
  std::vector<float> restore(const JournalPiece& piece) override {
    const DirectoryTensor& t = planned(piece.id);
    std::vector<float> out(static_cast<size_t>(t.tensor.elements()));
    if (t.quantized) {
      const auto matrix = group_matrix(piece.bytes, scheme_.format, t.rows(), t.cols());
      if (!matrix) damaged_piece(piece.id);
      decode(*matrix, out.data());
      if (writer_ != nullptr) writer_->put(index(piece.id), *matrix);
    } else {
      if (piece.bytes.size() != t.bytes) damaged_piece(piece.id);
      decode(*t.dense, piece.bytes.data(), t.tensor.elements(), out.data());
      if (writer_ != nullptr) writer_->put_dense(index(piece.id), out);
    }
    return out;
  }
  Linear as_run(const WeightId& id, std::span<const std::byte> stored) const override {
    const DirectoryTensor& t = planned(id);
    const auto matrix = group_matrix(stored, scheme_.format, t.rows(), t.cols());
    if (!matrix) damaged_piece(id);
    Lowering lowering = lowering_of(matrix->format, matrix->rows, matrix->cols, matrix->group_of_column);
    std::vector<std::byte> bytes(lowering.encoding->bytes(static_cast<uint64_t>(matrix->rows * matrix->cols)));
    const uint64_t row_bytes = bytes.size() / static_cast<uint64_t>(matrix->rows);
    pool_.run((matrix->rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t first = task * kRowsPerTask, count = std::min(kRowsPerTask, matrix->rows - first);
      lower_rows(*matrix, lowering, first, count, source_.store->where() + ": " + t.tensor.name,
                 bytes.data() + static_cast<uint64_t>(first) * row_bytes);
    });
    Linear out;
    out.w = pack_matrix(*lowering.encoding, matrix->rows, matrix->cols, bytes.data(), nullptr, pool_);
    out.columns = std::move(lowering.column_order);
    return out;
  }

 private:
  /// As the file will hold it, so that the greatest input is on the outermost code.
  float input_scale(float peak) const { return peak > 0 ? snap_number(scheme_.format, peak / 127) : 1; }

  const GroupScheme& scheme_;
  DirectoryWriter* const writer_;
};

}  // namespace

std::unique_ptr<LayerwiseTarget> gguf_target(const Plan& plan, const ModelSource& source, TensorWriter& writer,
                                             ThreadPool& pool) {
  return std::make_unique<GgufTarget>(plan, source, writer, pool);
}

std::unique_ptr<LayerwiseTarget> directory_target(const DirectoryPlan& plan, const GroupScheme& scheme,
                                                  const ModelSource& source, DirectoryWriter* writer,
                                                  ThreadPool& pool) {
  return std::make_unique<DirectoryTarget>(plan, scheme, source, writer, pool);
}

}  // namespace lowbit
