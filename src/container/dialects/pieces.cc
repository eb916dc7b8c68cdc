#include "container/dialects/pieces.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/large_pages.h"
#include "container/checks.h"

namespace lowbit::dialects {
namespace {

/// get_batch with shifts that are known when it is compiled.
template <int kBits>
void batch_of(const uint32_t* words, uint8_t* out) {
#pragma GCC unroll 32
  for (int64_t i = 0; i < kFieldBatch; ++i) out[i] = static_cast<uint8_t>(get_field(words, 1, i, kBits));
}

}  // namespace

void Pieces::refuse_text(const std::string& text) const {
  fail("{}: module {}: {}", store_.where(), shown(module_), text);
}

const TensorInfo& Pieces::at(std::string_view piece, std::initializer_list<EncodingId> types) const {
  const TensorInfo* info = find(piece);
  if (info == nullptr) refuse("tensor {} is missing", shown(name(piece)));
  if (std::find(types.begin(), types.end(), info->encoding->id) == types.end()) {
    refuse("tensor {} has type {}, which is not what it should be ({})", shown(name(piece)), info->encoding->name,
           encoding(*types.begin()).name);
  }
  return *info;
}

const TensorInfo& Pieces::at(std::string_view piece, std::initializer_list<EncodingId> types,
                             const std::vector<int64_t>& shape) const {
  const TensorInfo& info = at(piece, types);
  if (info.shape != shape) {
    refuse("tensor {} has shape [{}], [{}] expected", shown(name(piece)), fmt::join(info.shape, ", "),
           fmt::join(shape, ", "));
  }
  return info;
}

std::vector<uint8_t> Pieces::bytes(std::string_view piece) const {
  const TensorInfo& info = store_.at(name(piece));
  auto out = large_vector<uint8_t>(info.bytes);
  store_.read(info, 0, std::as_writable_bytes(std::span(out)));
  return out;
}

std::vector<uint32_t> Pieces::words(std::string_view piece) const {
  const TensorInfo& info = at(piece, {EncodingId::I32});
  auto out = large_vector<uint32_t>(info.bytes / sizeof(uint32_t));
  store_.read(info, 0, std::as_writable_bytes(std::span(out)));
  return out;
}

std::vector<float> Pieces::floats(std::string_view piece) const {
  const TensorInfo& info = at(piece, {EncodingId::F32, EncodingId::F16, EncodingId::BF16});
  std::vector<float> out(static_cast<size_t>(info.elements()));
  if (!out.empty()) read_rows(store_, info, 0, info.rows(), out.data());
  for (const float x : out) {
    if (!std::isfinite(x)) refuse("tensor {} holds a value that is not finite; get the model anew", shown(name(piece)));
  }
  return out;
}

int64_t Pieces::integer(std::string_view piece) const {
  const TensorInfo& info =
      at(piece, {EncodingId::I32, EncodingId::I64, EncodingId::U8, EncodingId::I8, EncodingId::Bool, EncodingId::F32});
  if (info.elements() != 1) refuse("tensor {} should be one number", shown(name(piece)));
  const std::vector<uint8_t> raw = bytes(piece);
  int64_t value = 0;
  if (info.encoding->id == EncodingId::F32) {
    float x;
    std::memcpy(&x, raw.data(), sizeof x);
    if (!(std::fabs(x) < 1e9F) || x != std::floor(x)) refuse("tensor {} should be a whole number", shown(name(piece)));
    return static_cast<int64_t>(x);
  }
  if (info.encoding->id == EncodingId::I32) {
    int32_t x;
    std::memcpy(&x, raw.data(), sizeof x);
    return x;
  }
  if (info.encoding->id == EncodingId::I8) return static_cast<int8_t>(raw[0]);
  std::memcpy(&value, raw.data(), std::min(sizeof value, raw.size()));
  return value;
}

std::vector<std::string> modules_with(const TensorStore& store, std::string_view piece) {
  const std::string suffix = "." + std::string(piece);
  std::vector<std::string> out;
  for (const TensorInfo& tensor : store.tensors()) {
    if (tensor.name.size() > suffix.size() && tensor.name.ends_with(suffix)) {
      out.push_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
    }
  }
  return out;
}

void get_batch(const uint32_t* words, int bits, uint8_t* out) {
  constexpr decltype(&batch_of<1>) kBatches[] = {batch_of<1>, batch_of<2>, batch_of<3>, batch_of<4>,
                                                 batch_of<5>, batch_of<6>, batch_of<7>, batch_of<8>};
  kBatches[bits - 1](words, out);
}

void get_fields(const uint32_t* words, int64_t count, int bits, uint8_t* out) {
  int64_t i = 0;
  for (; i + kFieldBatch <= count; i += kFieldBatch) get_batch(words + i * bits / 32, bits, out + i);
  for (; i < count; ++i) out[i] = static_cast<uint8_t>(get_field(words, 1, i, bits));
}

std::vector<std::byte> floats_as(EncodingId type, const std::vector<float>& values) {
  const Encoding& e = encoding(type);
  std::vector<std::byte> out(e.bytes(values.size()));
  encode_float(e, values.data(), static_cast<int64_t>(values.size()), out.data());
  return out;
}

std::vector<float> transposed(const std::vector<float>& values, int64_t rows, int64_t cols) {
  std::vector<float> out(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c)
      out[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * cols + c)];
  }
  return out;
}

GroupMatrix empty_matrix(const GroupModule& module) {
  GroupMatrix out;
  out.format = module.format;
  out.rows = module.rows;
  out.cols = module.cols;
  out.resize();
  return out;
}

int64_t group_size(const Json& config, const std::string& key, int64_t otherwise, const std::string& where) {
  const int64_t group = json_or<int64_t>(config, key, otherwise, where);
  if (group == -1) return 0;
  if (group < 1 || group > (int64_t{1} << 32))
    fail("{}: \"{}\" is {}; -1 or a positive number expected", where, key, group);
  return group;
}

Json group_json(int64_t group) { return group == 0 ? Json(-1) : Json(group); }

}  // namespace lowbit::dialects

namespace lowbit {

std::unique_ptr<Dialect> dialect_of(const Json& config, const std::string& where) {
  if (!config.is_object()) fail("{}: \"quantization_config\" should be an object", where);
  auto method = json_or<std::string>(config, "quant_method", "", where);
  // GPTQModel writes AWQ's packing under its own name too.
  const auto packing =
      config.contains("checkpoint_format") ? json_or<std::string>(config, "checkpoint_format", "", where) : "";
  if (method == "gptq" && packing == "gemm") method = "awq";
  const struct {
    std::string_view name;
    std::unique_ptr<Dialect> (*read)(const Json&, const std::string&);
  } known[] = {{"gptq", dialects::read_gptq},
               {"awq", dialects::read_awq},
               {"bitsandbytes", dialects::read_bitsandbytes},
               {"hqq", dialects::read_hqq},
               {"eetq", dialects::read_eetq},
               {"compressed-tensors", dialects::read_compressed_tensors}};
  std::string names;
  for (const auto& row : known) {
    if (row.name == method) return row.read(config, where + ", quantization_config");
    names += " " + std::string(row.name);
  }
  fail("{}: \"quant_method\" {} is not supported; known are{}", where, shown(method.empty() ? "(none)" : method),
       names);
}

}  // namespace lowbit
