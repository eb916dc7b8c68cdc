#include "container/ggml_types.h"

#include <fmt/format.h>

namespace lowbit {
namespace {

struct TypeNumber {
  EncodingId id;
  uint32_t type;
};
constexpr TypeNumber kTypeNumbers[] = {
    {EncodingId::F32, 0},   {EncodingId::F16, 1},     {EncodingId::BF16, 30},   {EncodingId::Q4_0, 2},
    {EncodingId::Q4_1, 3},  {EncodingId::Q5_0, 6},    {EncodingId::Q5_1, 7},    {EncodingId::Q8_0, 8},
    {EncodingId::Q2_K, 10}, {EncodingId::Q3_K, 11},   {EncodingId::Q4_K, 12},   {EncodingId::Q5_K, 13},
    {EncodingId::Q6_K, 14}, {EncodingId::IQ4_NL, 20}, {EncodingId::IQ4_XS, 23}, {EncodingId::F64, 28},
    {EncodingId::I8, 24},   {EncodingId::I16, 25},    {EncodingId::I32, 26},    {EncodingId::I64, 27},
};
/// Types that lowbit does not know.
struct TypeName {
  uint32_t type;
  const char* name;
};
constexpr TypeName kOtherNames[] = {
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {21, "IQ3_S"}, {22, "IQ2_S"}, {29, "IQ1_M"},   {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},
};

}  // namespace

int ggml_type(const Encoding& encoding) {
  for (const auto& [id, type] : kTypeNumbers) {
    if (id == encoding.id) return static_cast<int>(type);
  }
  return -1;
}

const Encoding* encoding_of_ggml_type(uint32_t type) {
  for (const auto& known : kTypeNumbers) {
    if (known.type == type) return &encoding(known.id);
  }
  return nullptr;
}

std::string ggml_type_name(uint32_t type) {
  if (const Encoding* known = encoding_of_ggml_type(type); known != nullptr) return std::string(known->name);
  for (const auto& other : kOtherNames) {
    if (other.type == type) return other.name;
  }
  return fmt::format("number {}", type);
}

}  // namespace lowbit
