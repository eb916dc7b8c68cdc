#include "quantize/mixture.h"

#include <strings.h>

#include <string>

#include "model/layout.h"

namespace lowbit {
namespace {

using enum EncodingId;

constexpr MixtureRule kQ2K[] = {
    {Role::V, Layers::All, Given::WideGroups, Q4_K},
    {Role::V, Layers::All, Given::Always, Q3_K},
    {Role::Down, Layers::All, Given::Always, Q3_K},
    {Role::AttentionOutput, Layers::All, Given::Always, Q3_K},
};
constexpr MixtureRule kQ3KM[] = {
    {Role::V, Layers::FirstTwo, Given::Always, Q5_K},          {Role::V, Layers::All, Given::Always, Q4_K},
    {Role::Down, Layers::FirstSixteenth, Given::Always, Q5_K}, {Role::Down, Layers::All, Given::Always, Q4_K},
    {Role::AttentionOutput, Layers::All, Given::Always, Q4_K},
};
constexpr MixtureRule kQ3KL[] = {
    {Role::V, Layers::All, Given::Always, Q5_K},
    {Role::Down, Layers::All, Given::Always, Q5_K},
    {Role::AttentionOutput, Layers::All, Given::Always, Q5_K},
};
constexpr MixtureRule kQ4KS[] = {
    {Role::V, Layers::FirstFour, Given::Always, Q5_K},
    {Role::Down, Layers::FirstEighth, Given::Always, Q5_K},
};
constexpr MixtureRule kSensitiveQ6K[] = {
    {Role::V, Layers::Sensitive, Given::Always, Q6_K},
    {Role::Down, Layers::Sensitive, Given::Always, Q6_K},
};
constexpr MixtureRule kQ40[] = {{Role::Down, Layers::FirstEighth, Given::Importance, Q4_1}};
constexpr MixtureRule kQ50[] = {{Role::Down, Layers::FirstEighth, Given::Importance, Q5_1}};
constexpr MixtureRule kIq4[] = {
    {Role::V, Layers::All, Given::WideGroups, Q5_K},
    {Role::Down, Layers::FirstEighth, Given::NoImportance, Q5_K},
};

constexpr Mixture kMixtures[] = {
    {"F32", 0, F32, F32, {}, "32-bit floats: larger than any model's original"},
    {"F16", 1, F16, F16, {}, "16-bit floats: nothing lost for F16 originals, next to nothing for BF16 ones"},
    {"BF16", 32, BF16, BF16, {}, "bfloat16: nothing lost for BF16 originals"},
    {"Q8_0", 7, Q8_0, Q8_0, {}, "8.5 bits: as good as the original"},
    {"Q6_K", 18, Q6_K, Q6_K, {}, "6.6 bits: very close to the original"},
    {"Q5_K_M", 17, Q5_K, Q6_K, kSensitiveQ6K, "5.7 bits: high quality; recommended where it fits"},
    {"Q5_K_S", 16, Q5_K, Q6_K, {}, "5.5 bits"},
    {"Q5_1", 9, Q5_1, Q6_K, {}, "6.0 bits: older format, prefer Q5_K_M"},
    {"Q5_0", 8, Q5_0, Q6_K, kQ50, "5.5 bits: older format, prefer Q5_K_S"},
    {"Q4_K_M", 15, Q4_K, Q6_K, kSensitiveQ6K, "4.8 bits: the usual choice"},
    {"Q4_K_S", 14, Q4_K, Q6_K, kQ4KS, "4.6 bits"},
    {"IQ4_NL", 25, IQ4_NL, Q6_K, kIq4, "4.5 bits: for rows that are no multiple of 256"},
    {"Q4_1", 3, Q4_1, Q6_K, {}, "5.0 bits: older format, prefer Q4_K_M"},
    {"Q4_0", 2, Q4_0, Q6_K, kQ40, "4.5 bits: older format, prefer IQ4_NL"},
    {"IQ4_XS", 30, IQ4_XS, Q6_K, kIq4, "4.3 bits: the best of its size"},
    {"Q3_K_L", 13, Q3_K, Q6_K, kQ3KL, "4.2 bits"},
    {"Q3_K_M", 12, Q3_K, Q6_K, kQ3KM, "3.9 bits: a visible loss; use --imatrix"},
    {"Q3_K_S", 11, Q3_K, Q6_K, {}, "3.5 bits: a large loss; use --imatrix"},
    {"Q2_K", 10, Q2_K, Q6_K, kQ2K, "3.0 bits: only when nothing else fits; use --imatrix"},
};

bool holds(Layers layers, int64_t i, int64_t n) {
  switch (layers) {
    case Layers::All:
      return true;
    case Layers::FirstTwo:
      return i < 2;
    case Layers::FirstFour:
      return i < 4;
    case Layers::FirstSixteenth:
      return i < n / 16;
    case Layers::FirstEighth:
      return i < n / 8;
    case Layers::Sensitive:
      return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  }
  return false;
}

bool holds(Given given, const ModelConfig& config, bool importance) {
  switch (given) {
    case Given::Always:
      return true;
    case Given::WideGroups:
      return config.heads / config.kv_heads >= 4;
    case Given::Importance:
      return importance;
    case Given::NoImportance:
      return !importance;
  }
  return false;
}

}  // namespace

std::span<const Mixture> mixtures() { return kMixtures; }

const Mixture* find_mixture(std::string_view name) {
  for (const Mixture& mixture : kMixtures) {
    if (mixture.name.size() == name.size() && strncasecmp(mixture.name.data(), name.data(), name.size()) == 0) {
      return &mixture;
    }
  }
  return nullptr;
}

EncodingId wanted_encoding(const Mixture& mixture, const ModelConfig& config, bool importance, const WeightId& id,
                           int64_t cols) {
  if (id == output_matrix(config)) {
    const bool whole = encoding(mixture.base).kind == EncodingKind::Float || cols % encoding(mixture.base).block == 0;
    return whole ? mixture.output : Q8_0;
  }
  EncodingId wanted = mixture.base;
  for (const MixtureRule& rule : mixture.rules) {
    if (rule.role == id.role && holds(rule.layers, id.layer, config.layers) && holds(rule.given, config, importance)) {
      wanted = rule.encoding;
      break;
    }
  }
  // With 80 layers and few key/value heads, V is so small that better bits for it cost next to nothing.
  const bool seventy_billion = config.layers == 80 && config.heads != config.kv_heads;
  if (id.role == Role::V && seventy_billion && (wanted == Q3_K || wanted == Q4_K)) return Q5_K;
  return wanted;
}

EncodingId fallback_encoding(EncodingId wanted, int64_t cols) {
  EncodingId narrow = wanted;
  switch (wanted) {
    case IQ4_XS:
      narrow = IQ4_NL;
      break;
    case Q2_K:
    case Q3_K:
      narrow = Q4_0;
      break;
    case Q4_K:
      narrow = Q5_0;
      break;
    case Q5_K:
      narrow = Q5_1;
      break;
    case Q6_K:
      narrow = Q8_0;
      break;
    default:
      break;
  }
  return cols % encoding(narrow).block == 0 ? narrow : F16;
}

}  // namespace lowbit
