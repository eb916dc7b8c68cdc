#include "quantize/directory.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "quantize/calibration/random_tokens.h"
#include "quantize/export_hf.h"
#include "quantize/pipeline.h"
#include "quantize/provenance.h"
#include "quantize/quantize_groups.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

/// What lies beside the weights and has nothing to do with them.
constexpr std::string_view kCompanions[] = {"generation_config.json",
                                            "tokenizer.json",
                                            "tokenizer_config.json",
                                            "tokenizer.model",
                                            "special_tokens_map.json",
                                            "added_tokens.json",
                                            "vocab.json",
                                            "merges.txt",
                                            "chat_template.jinja",
                                            "chat_template.json"};

/// The matrices that transformers' integrations replace: every Linear but the output.
bool wanted(const WeightId& id) { return is_matrix(id) && id.role != Role::TokenEmbedding && id.role != Role::Output; }

uint64_t bytes_of(const std::vector<ModuleTensor>& tensors) {
  uint64_t bytes = 0;
  for (const ModuleTensor& t : tensors) {
    uint64_t count = 1;
    for (const int64_t dim : t.shape) count *= static_cast<uint64_t>(dim);
    bytes += encoding(t.type).bytes(count);
  }
  return bytes;
}

void check_source(const ModelSource& source, const TensorInfo& tensor, const DirectoryOptions& options) {
  const bool dense = tensor.encoding->kind == EncodingKind::Float && tensor.stored == nullptr;
  if (dense || options.allow_requantize) return;
  fail(
      "{}: tensor {} is already quantized ({}); quantize from the original model, or accept the added loss with "
      "--allow-requantize",
      source.store->where(), tensor.name,
      tensor.stored ? std::string_view(tensor.stored->format) : tensor.encoding->name);
}

const Encoding* dense_type(const ModelSource& source, const OutputTensor& tensor) {
  const Encoding* own = tensor.source->encoding;
  if (own->kind == EncodingKind::Float && tensor.source->stored == nullptr) return own;
  return &encoding(float_type(source));
}

}  // namespace

EncodingId float_type(const ModelSource& source) {
  const TensorInfo& embedding = source.store->at(source.name({Role::TokenEmbedding}));
  return embedding.encoding->kind == EncodingKind::Float ? embedding.encoding->id : EncodingId::F16;
}

DirectoryPlan plan_directory(const ModelSource& source, const GroupScheme& scheme, const DirectoryOptions& options) {
  DirectoryPlan plan;
  bool any = false;
  std::string last_refusal;
  for (OutputTensor& tensor : hf_tensors(source)) {
    DirectoryTensor t;
    t.tensor = std::move(tensor);
    if (t.tensor.source != nullptr && is_matrix(t.tensor.id)) check_source(source, *t.tensor.source, options);
    if (wanted(t.tensor.id)) {
      t.refusal = scheme.dialect->refusal(scheme.format, t.rows(), t.cols());
      t.quantized = t.refusal.empty();
      if (!t.quantized && options.strict) {
        fail("{}: tensor {} of {} x {}: {}; leave out --strict to store it as it is", source.store->where(),
             t.tensor.name, t.rows(), t.cols(), t.refusal);
      }
      if (!t.quantized) last_refusal = t.refusal;
    }
    if (t.quantized) {
      any = true;
      t.bytes = bytes_of(scheme.dialect->tensors(t.module(), scheme.format, t.rows(), t.cols()));
    } else {
      t.dense = dense_type(source, t.tensor);
      t.bytes = t.dense->bytes(static_cast<uint64_t>(t.tensor.elements()));
      const bool linear = is_matrix(t.tensor.id) && t.tensor.id.role != Role::TokenEmbedding;
      if (linear) plan.skipped.push_back(t.module());
    }
    plan.parameters += t.tensor.elements();
    plan.bytes += t.bytes;
    plan.tensors.push_back(std::move(t));
  }
  if (!any) fail("{}: no matrix can be stored as {}: {}", source.store->where(), scheme.name, last_refusal);
  // Tied models have no tensor of the output, but readers make the module all the same.
  if (std::find(plan.skipped.begin(), plan.skipped.end(), "lm_head") == plan.skipped.end()) {
    plan.skipped.push_back("lm_head");
  }
  return plan;
}

DirectoryWriter::DirectoryWriter(const ModelSource& source, const GroupScheme& scheme, const DirectoryPlan& plan,
                                 const fs::path& folder)
    : source_(source), scheme_(scheme), plan_(plan), folder_(folder) {
  std::error_code code;
  if (fs::equivalent(source.path, folder, code))
    fail("{}: is the source itself; choose another folder", folder.string());
  config_ = source.is_gguf ? hf_config_of(source) : source.hf_config;
  std::vector<TensorInfo> infos;
  for (const DirectoryTensor& t : plan.tensors) {
    first_.push_back(infos.size());
    if (!t.quantized) {
      infos.push_back({t.tensor.name, t.tensor.shape, t.dense, t.bytes});
      continue;
    }
    for (ModuleTensor& piece : scheme.dialect->tensors(t.module(), scheme.format, t.rows(), t.cols())) {
      infos.push_back({std::move(piece.name), std::move(piece.shape), &encoding(piece.type), 0});
    }
  }
  writer_ = std::make_unique<SafetensorsWriter>(folder, infos);
}

void DirectoryWriter::write_dense(const std::vector<std::string>& changed, ThreadPool& pool) {
  const std::set<std::string_view> apart(changed.begin(), changed.end());
  std::vector<PlannedTensor> tensors;
  std::vector<size_t> slots;
  for (size_t i = 0; i < plan_.tensors.size(); ++i) {
    const DirectoryTensor& t = plan_.tensors[i];
    if (t.quantized || apart.contains(t.tensor.name)) continue;
    PlannedTensor planned;
    planned.tensor = t.tensor;
    planned.wanted = planned.encoding = t.dense;
    planned.bytes = t.bytes;
    tensors.push_back(std::move(planned));
    slots.push_back(first_[i]);
  }
  /// The pipeline numbers tensors from 0.
  class Some final : public TensorWriter {
   public:
    Some(TensorWriter& writer, const std::vector<size_t>& slots) : writer_(writer), slots_(slots) {}
    void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) override {
      writer_.write(slots_[tensor], offset, bytes);
    }
    void finish() override {}

   private:
    TensorWriter& writer_;
    const std::vector<size_t>& slots_;
  } some(*writer_, slots);
  write_tensors(tensors, *source_.store, some, "copying", pool);
}

void DirectoryWriter::put_dense(size_t tensor, const std::vector<float>& values) {
  const DirectoryTensor& t = plan_.tensors.at(tensor);
  std::vector<std::byte> bytes(t.bytes);
  encode_float(*t.dense, values.data(), t.tensor.elements(), bytes.data());
  writer_->write(first_[tensor], 0, bytes);
}

void DirectoryWriter::put(size_t tensor, const GroupMatrix& matrix) {
  const std::vector<std::vector<std::byte>> pieces = scheme_.dialect->pack(matrix);
  for (size_t i = 0; i < pieces.size(); ++i) writer_->write(first_[tensor] + i, 0, pieces[i]);
}

void DirectoryWriter::write_companions() const {
  if (source_.is_gguf) {
    write_hf_tokenizer(read_tokenizer(source_), folder_);
    return;
  }
  for (const std::string_view name : kCompanions) {
    if (fs::exists(source_.path / name)) write_text_file(folder_ / name, read_text_file(source_.path / name));
  }
}

void DirectoryWriter::finish() {
  // A config from an earlier run would make a half-written folder look whole.
  std::error_code code;
  fs::remove(folder_ / "config.json", code);
  writer_->finish();
  write_companions();
  const Json quantization = scheme_.dialect->config(plan_.skipped);
  config_["quantization_config"] = quantization;
  if (!plan_.provenance.is_null()) config_[kProvenanceMember] = plan_.provenance;
  const std::string extra = scheme_.dialect->config_file();
  if (!extra.empty()) write_text_file(folder_ / extra, quantization.dump(2) + "\n");
  write_text_file(folder_ / "config.json", config_.dump(2) + "\n");
}

std::vector<float> read_weights(const ModelSource& source, const OutputTensor& tensor, int64_t first, int64_t count,
                                ThreadPool& pool) {
  std::vector<float> out(static_cast<size_t>(count * tensor.cols()));
  const int64_t step = std::max<int64_t>(1, (int64_t{1} << 18) / tensor.cols());
  pool.run((count + step - 1) / step, [&](int64_t i, int) {
    const int64_t begin = i * step, rows = std::min(step, count - begin);
    read_output_rows(*source.store, tensor, first + begin, rows, out.data() + begin * tensor.cols());
  });
  return out;
}

uint64_t write_directory(const ModelSource& source, const GroupScheme& scheme, const DirectoryPlan& plan,
                         const fs::path& folder, ThreadPool& pool) {
  DirectoryWriter writer(source, scheme, plan, folder);
  writer.write_dense({}, pool);
  uint64_t total = 0;
  for (const DirectoryTensor& t : plan.tensors) total += t.quantized ? static_cast<uint64_t>(t.tensor.elements()) : 0;
  RandomTokens tokens(source, pool);
  Progress progress("quantizing", total);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const DirectoryTensor& t = plan.tensors[i];
    if (!t.quantized) continue;
    std::vector<float> importance;
    if (weighs_random_tokens(scheme)) importance = tokens.importance(t.tensor.id);
    const std::vector<float> weights = read_weights(source, t.tensor, 0, t.rows(), pool);
    writer.put(i, quantize_groups(scheme.format, scheme.search, weights.data(), t.rows(), t.cols(),
                                  importance.empty() ? nullptr : importance.data(), pool));
    progress.add(static_cast<uint64_t>(t.tensor.elements()), t.tensor.name);
  }
  writer.finish();
  return plan.bytes;
}

}  // namespace lowbit
