#include "quantize/pipeline.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/progress.h"
#include "encoding/recode.h"

namespace lowbit {
namespace {

constexpr int64_t kChunkWeights = int64_t{1} << 16;
constexpr uint32_t kQuantizationVersion = 2;  // llama.cpp's GGML_QNT_VERSION

struct Chunk {
  size_t tensor;
  int64_t begin, count;  // rows
};

/// As many rows as make about a megabyte of binary32: the unit of streaming.
int64_t rows_per_chunk(int64_t cols) { return std::max<int64_t>(1, kChunkWeights / std::max<int64_t>(1, cols)); }

/// The whole job as equal pieces, so that threads share out a model of many small tensors as well as one of few large.
std::vector<Chunk> chunks_of(const std::vector<PlannedTensor>& tensors) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].layerwise) continue;
    const int64_t rows = tensors[i].tensor.rows();
    const int64_t step = rows_per_chunk(tensors[i].tensor.cols());
    for (int64_t row = 0; row < rows; row += step) chunks.push_back({i, row, std::min(step, rows - row)});
  }
  return chunks;
}

void encode_chunk(const PlannedTensor& planned, const float* rows, int64_t count, std::byte* out) {
  const int64_t cols = planned.tensor.cols();
  if (planned.encoding->kind == EncodingKind::Float) {
    encode_float(*planned.encoding, rows, count * cols, out);
  } else {
    encode_rows(*planned.encoding, Search::Weighted, rows, count, cols,
                planned.importance.empty() ? nullptr : planned.importance.data(), out);
  }
}

/// Quantized rows that stay in their encoding are copied: encoding them again would change them.
bool copies(const PlannedTensor& planned) {
  return planned.tensor.source != nullptr && planned.encoding->kind == EncodingKind::Block &&
         planned.tensor.source->encoding == planned.encoding && planned.tensor.source->column_order().empty();
}

void read_stored_rows(const TensorStore& store, const OutputTensor& tensor, int64_t begin, int64_t count,
                      std::byte* out) {
  const uint64_t row_bytes = tensor.source->encoding->bytes(static_cast<uint64_t>(tensor.source->cols()));
  if (tensor.row_order.empty()) {
    store.read(*tensor.source, static_cast<uint64_t>(begin) * row_bytes,
               {out, static_cast<uint64_t>(count) * row_bytes});
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<uint64_t>(tensor.row_order[static_cast<size_t>(begin + i)]);
    store.read(*tensor.source, row * row_bytes, {out + static_cast<uint64_t>(i) * row_bytes, row_bytes});
  }
}

void check_finite(const TensorStore& store, const OutputTensor& tensor, int64_t begin, const float* rows,
                  int64_t count) {
  const int64_t cols = tensor.cols();
  constexpr uint32_t kExponent = 0x7f800000;  // of infinities and NaNs; integers, for this is vectorised as it stands
  uint32_t damaged = 0;
  for (int64_t i = 0; i < count * cols; ++i) damaged |= (std::bit_cast<uint32_t>(rows[i]) & kExponent) == kExponent;
  if (damaged == 0) return;
  const int64_t at = std::find_if(rows, rows + count * cols, [](float x) { return !std::isfinite(x); }) - rows;
  fail("{}: tensor {} holds a value that is not finite (output row {}, column {}); the model is damaged: get it anew",
       store.where(), tensor.source->name, begin + at / cols, at % cols);
}

}  // namespace

GgufMetadata complete_metadata(GgufMetadata metadata, const Plan& plan) {
  metadata.set("general.file_type", static_cast<uint32_t>(plan.mixture->file_type));
  metadata.set("general.quantization_version", kQuantizationVersion);
  return metadata;
}

void read_output_rows(const TensorStore& store, const OutputTensor& tensor, int64_t begin, int64_t count, float* out) {
  const int64_t cols = tensor.cols();
  if (tensor.source == nullptr) {
    std::copy_n(tensor.values.begin() + begin * cols, count * cols, out);
    return;
  }
  const Encoding& from = *tensor.source->encoding;
  std::vector<std::byte> stored(from.bytes(static_cast<uint64_t>(count * cols)));
  read_stored_rows(store, tensor, begin, count, stored.data());
  decode(from, stored.data(), count * cols, out);
  restore_columns(tensor.source->column_order(), count, out);
  check_finite(store, tensor, begin, out, count);
}

int64_t row_pieces(const OutputTensor& tensor) {
  const int64_t step = rows_per_chunk(tensor.cols());
  return (tensor.rows() + step - 1) / step;
}

void for_row_pieces(const TensorStore& store, const OutputTensor& tensor, ThreadPool& pool,
                    const std::function<void(int64_t, int64_t, int64_t, const float*)>& task) {
  const int64_t step = rows_per_chunk(tensor.cols());
  pool.run(row_pieces(tensor), [&](int64_t piece, int) {
    const int64_t first = piece * step, rows = std::min(step, tensor.rows() - first);
    std::vector<float> values(static_cast<size_t>(rows * tensor.cols()));
    read_output_rows(store, tensor, first, rows, values.data());
    task(piece, first, rows, values.data());
  });
}

std::vector<TensorInfo> output_infos(const std::vector<PlannedTensor>& tensors) {
  std::vector<TensorInfo> infos;
  for (const PlannedTensor& t : tensors) infos.push_back({t.tensor.name, t.tensor.shape, t.encoding, t.bytes});
  return infos;
}

void write_tensors(const std::vector<PlannedTensor>& tensors, const TensorStore& store, TensorWriter& writer,
                   const std::string& label, ThreadPool& pool) {
  const std::vector<Chunk> chunks = chunks_of(tensors);
  uint64_t total = 0;
  for (const PlannedTensor& t : tensors) total += t.layerwise ? 0 : static_cast<uint64_t>(t.tensor.elements());
  Progress progress(label, total);

  struct Scratch {
    std::vector<float> rows;
    std::vector<std::byte> bytes;
  };
  std::vector<Scratch> scratch(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(chunks.size()), [&](int64_t i, int worker) {
    const Chunk& chunk = chunks[static_cast<size_t>(i)];
    const PlannedTensor& planned = tensors[chunk.tensor];
    const int64_t cols = planned.tensor.cols();
    const uint64_t row_bytes = planned.encoding->bytes(static_cast<uint64_t>(cols));
    auto& [rows, bytes] = scratch[static_cast<size_t>(worker)];
    bytes.resize(static_cast<uint64_t>(chunk.count) * row_bytes);
    if (planned.recode && !copies(planned)) {
      const Encoding& from = *planned.tensor.source->encoding;
      std::vector<std::byte> stored(from.bytes(static_cast<uint64_t>(chunk.count * cols)));
      read_stored_rows(store, planned.tensor, chunk.begin, chunk.count, stored.data());
      recode(from, stored.data(), chunk.count * cols, *planned.encoding, bytes.data());
    } else if (copies(planned)) {
      read_stored_rows(store, planned.tensor, chunk.begin, chunk.count, bytes.data());
    } else {
      rows.resize(static_cast<size_t>(chunk.count * cols));
      read_output_rows(store, planned.tensor, chunk.begin, chunk.count, rows.data());
      encode_chunk(planned, rows.data(), chunk.count, bytes.data());
    }
    writer.write(chunk.tensor, static_cast<uint64_t>(chunk.begin) * row_bytes, bytes);
    progress.add(static_cast<uint64_t>(chunk.count * cols), planned.tensor.name);
  });
}

uint64_t write_gguf(const Plan& plan, const ModelSource& source, GgufMetadata metadata,
                    const std::filesystem::path& path, ThreadPool& pool,
                    const std::function<void(TensorWriter&)>& more) {
  GgufWriter writer(path, complete_metadata(std::move(metadata), plan), output_infos(plan.tensors));
  write_tensors(plan.tensors, *source.store, writer, "quantizing", pool);
  if (more) more(writer);
  writer.finish();
  return writer.file_bytes();
}

}  // namespace lowbit
