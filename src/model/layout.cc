#include "model/layout.h"

#include <algorithm>
#include <tuple>

namespace lowbit {
namespace {

std::vector<int64_t> row_order(const ModelSource& source, const WeightId& id, bool to_gguf) {
  return source.is_gguf == to_gguf ? std::vector<int64_t>() : rotary_order(source.config, id.role, to_gguf);
}

/// The order in which llama.cpp writes and quantizes: tensors of no layer first, then by layer, each by name.
bool before(const OutputTensor& a, const OutputTensor& b) {
  return std::tie(a.id.layer, a.name) < std::tie(b.id.layer, b.name);
}

std::vector<OutputTensor> tensors(const ModelSource& source, bool to_gguf) {
  std::vector<OutputTensor> out;
  for (const TensorInfo& info : source.store->tensors()) {
    const auto id = source.is_gguf ? from_gguf_name(info.name) : from_hf_name(info.name);
    if (!id || id->role == Role::RopeFrequencies) continue;
    if (id->role == Role::Output && source.config.tied_embeddings) continue;  // a copy of the embedding
    out.push_back(
        {*id, to_gguf ? gguf_name(*id) : hf_name(*id), info.shape, &info, row_order(source, *id, to_gguf), {}});
  }
  const std::vector<float> factors = rope_factors(source.config);
  if (to_gguf && !factors.empty()) {
    const WeightId id{Role::RopeFrequencies};
    out.push_back({id, gguf_name(id), {static_cast<int64_t>(factors.size())}, nullptr, {}, factors});
  }
  std::sort(out.begin(), out.end(), before);
  return out;
}

}  // namespace

int64_t OutputTensor::elements() const {
  int64_t n = 1;
  for (const int64_t dim : shape) n *= dim;
  return n;
}

std::vector<int64_t> rotary_order(const ModelConfig& c, Role role, bool to_gguf) {
  if (!c.architecture->rope_interleaved_in_gguf || (role != Role::Q && role != Role::K)) return {};
  const int64_t heads = role == Role::Q ? c.heads : c.kv_heads, rows = heads * c.head_dim;
  return to_gguf ? interleaved_rows(rows, heads) : split_rows(rows, heads);
}

WeightId output_matrix(const ModelConfig& config) {
  return {config.tied_embeddings ? Role::TokenEmbedding : Role::Output};
}

std::vector<OutputTensor> gguf_tensors(const ModelSource& source) { return tensors(source, true); }
std::vector<OutputTensor> hf_tensors(const ModelSource& source) { return tensors(source, false); }

std::vector<int64_t> interleaved_rows(int64_t rows, int64_t heads) {
  const int64_t dim = rows / heads, half = dim / 2;
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) order[static_cast<size_t>(r)] = r / dim * dim + r % 2 * half + r % dim / 2;
  return order;
}

std::vector<int64_t> split_rows(int64_t rows, int64_t heads) {
  const int64_t dim = rows / heads, half = dim / 2;
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) order[static_cast<size_t>(r)] = r / dim * dim + r % half * 2 + r % dim / half;
  return order;
}

}  // namespace lowbit
