#include "quantize/scheme.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace lowbit {
namespace {

/// What the parts after a scheme's first say; absent: the scheme's own choice.
struct Parts {
  std::optional<int> bits;
  std::optional<int64_t> group;  // 0: a whole row
  bool tensor = false, symmetric = false, asymmetric = false;
  bool fixed = false;  // "-static": activations on a scale that the file holds
  int version = 0;     // of GPTQ's format; 0: not said
};

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> out(1);
  for (const char c : name) {
    if (c == '-') {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

std::optional<int64_t> number_before(const std::string& part, std::string_view unit) {
  if (!part.ends_with(unit)) return std::nullopt;
  int64_t value = 0;
  const char* end = part.data() + part.size() - unit.size();
  const auto [stop, error] = std::from_chars(part.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<Parts> read_parts(const std::vector<std::string>& parts, std::string_view name) {
  Parts out;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    if (const auto bits = number_before(part, "bit")) {
      if (*bits < 1 || *bits > 8) fail("{}: {} bits; 2, 3, 4 and 8 are possible", name, *bits);
      out.bits = static_cast<int>(*bits);
    } else if (const auto group = number_before(part, "g")) {
      if (*group < 8 || *group > 65536) fail("{}: groups of {}; 8 to 65536 are possible", name, *group);
      out.group = *group;
    } else if (part == "channel") {
      out.group = 0;
    } else if (part == "tensor") {
      out.tensor = true;
    } else if (part == "static" && parts.front() == "w8a8") {
      out.fixed = true;
    } else if (part == "sym") {
      out.symmetric = true;
    } else if (part == "asym") {
      out.asymmetric = true;
    } else if (part == "v1" || part == "v2") {
      out.version = part == "v1" ? 1 : 2;
    } else {
      return std::nullopt;
    }
  }
  return out;
}

using Maker = std::optional<GroupScheme> (*)(const Parts&, EncodingId);

void check_bits(int bits, std::initializer_list<int> possible, std::string_view what) {
  if (std::find(possible.begin(), possible.end(), bits) == possible.end())
    fail("{}: {} bits are not possible", what, bits);
}

std::optional<GroupScheme> make_gptq(const Parts& parts, EncodingId) {
  if (parts.tensor) return std::nullopt;
  GroupScheme s;
  s.format.bits = parts.bits.value_or(4);
  check_bits(s.format.bits, {2, 3, 4, 8}, "GPTQ files");
  s.format.group = parts.group.value_or(128);
  // GPTQModel reads zero points of the first version from its own files only; without zero points the two are alike,
  // and the first is known everywhere.
  s.second_version = parts.version == 2 || (parts.version == 0 && parts.asymmetric);
  if (parts.asymmetric) {
    s.format.zero = GroupZero::Integer;
    s.format.lowest_zero = s.second_version ? 0 : 1;
  }
  GptqOptions options;
  options.bits = s.format.bits;
  options.group = s.format.group;
  options.symmetric = !parts.asymmetric;
  options.second_version = s.second_version;
  s.dialect = gptq_dialect(options);
  s.gptq = options;
  return s;
}

std::optional<GroupScheme> make_rtn(const Parts& parts, EncodingId type) {
  auto s = make_gptq(parts, type);
  if (s) s->search = GroupSearch::MinMax;
  return s;
}

std::optional<GroupScheme> make_awq(const Parts& parts, EncodingId) {
  if (parts.tensor || parts.symmetric || parts.version != 0) return std::nullopt;
  GroupScheme s;
  s.format.bits = parts.bits.value_or(4);
  check_bits(s.format.bits, {4}, "AWQ files");
  s.format.group = parts.group.value_or(128);
  s.format.zero = GroupZero::Integer;
  s.transform = Transform::Awq;
  s.dialect = awq_dialect({s.format.group});
  return s;
}

std::optional<GroupScheme> make_table(GroupLevels levels, bool doubly, EncodingId type) {
  GroupScheme s;
  s.format = {4, levels, GroupZero::Fixed, GroupSpan::Flat, 64, EncodingId::F32, 0, doubly};
  s.dialect = bitsandbytes_dialect({levels, doubly, type});
  return s;
}

std::optional<GroupScheme> make_bnb_int8(const Parts& parts, EncodingId type) {
  if (parts.bits || parts.group || parts.tensor || parts.symmetric || parts.asymmetric) return std::nullopt;
  GroupScheme s;
  s.format = {8, GroupLevels::Integer, GroupZero::Fixed, GroupSpan::Row, 0, EncodingId::F32};
  s.dialect = bitsandbytes_dialect({GroupLevels::Integer, false, type});
  return s;
}

std::optional<GroupScheme> make_hqq(const Parts& parts, EncodingId type) {
  if (parts.tensor || parts.symmetric || parts.version != 0) return std::nullopt;
  GroupScheme s;
  s.format.bits = parts.bits.value_or(4);
  check_bits(s.format.bits, {1, 2, 3, 4, 8}, "HQQ files");
  s.format.zero = GroupZero::Float;
  s.format.span = GroupSpan::Flat;
  s.format.group = parts.group.value_or(64);
  if (s.format.group == 0) return std::nullopt;
  // BF16 would round an 8-bit zero point to halves; F16 is also what hqq itself computes in unless told otherwise.
  s.format.number = type == EncodingId::F32 ? EncodingId::F32 : EncodingId::F16;
  s.dialect = hqq_dialect({s.format.bits, s.format.group, s.format.number});
  return s;
}

std::optional<GroupScheme> make_eetq(const Parts& parts, EncodingId) {
  if (parts.bits || parts.group || parts.tensor || parts.symmetric || parts.asymmetric) return std::nullopt;
  GroupScheme s;
  s.format = {8, GroupLevels::Integer, GroupZero::Fixed, GroupSpan::Row, 0, EncodingId::F16};
  s.dialect = eetq_dialect();
  return s;
}

std::optional<GroupScheme> make_compressed(int bits, bool activations, const Parts& parts, EncodingId type) {
  if (parts.bits || parts.version != 0 || (parts.tensor && parts.group)) return std::nullopt;
  GroupScheme s;
  CompressedTensorsOptions options;
  s.format.bits = options.bits = bits;
  s.format.group = options.group = parts.group.value_or(bits == 4 ? 128 : 0);
  s.format.number = options.scale = type;
  options.symmetric = !parts.asymmetric;
  if (parts.asymmetric) s.format.zero = GroupZero::Integer;
  if (parts.tensor) {
    s.format.span = GroupSpan::Tensor;
    options.per_tensor = true;
  }
  options.packed = !activations;
  if (activations) {
    if (s.format.group != 0) return std::nullopt;
    using Activations = CompressedTensorsOptions::Activations;
    options.activations = parts.fixed ? Activations::PerTensor : Activations::PerToken;
    s.integer_activations = !parts.fixed;
    s.static_activations = parts.fixed;
  }
  s.dialect = compressed_tensors_dialect(options);
  return s;
}

constexpr std::pair<std::string_view, GroupSearch> kSearches[] = {{"squares", GroupSearch::Squares},
                                                                  {"absmax", GroupSearch::AbsMax},
                                                                  {"minmax", GroupSearch::MinMax},
                                                                  {"range", GroupSearch::Range},
                                                                  {"hqq", GroupSearch::HalfQuadratic}};

struct Row {
  std::string_view method;
  Maker make;
};
constexpr Row kRows[] = {
    {"gptq", make_gptq},
    {"rtn", make_rtn},
    {"awq", make_awq},
    {"hqq", make_hqq},
    {"eetq", make_eetq},
    {"bnb_int8", make_bnb_int8},
    {"w4a16", [](const Parts& p, EncodingId type) { return make_compressed(4, false, p, type); }},
    {"w8a16", [](const Parts& p, EncodingId type) { return make_compressed(8, false, p, type); }},
    {"w8a8", [](const Parts& p, EncodingId type) { return make_compressed(8, true, p, type); }},
};

/// "awq-w4a16", "smoothquant-w8a8", "gptq-w4a16": a method before a scheme that is named after its format alone.
std::string take_method(std::vector<std::string>& parts) {
  constexpr std::string_view kMethods[] = {"gptq", "awq", "smoothquant"};
  const bool named = std::find(std::begin(kMethods), std::end(kMethods), parts.front()) != std::end(kMethods);
  if (!named || parts.size() < 2 || !parts[1].starts_with('w')) return "";
  std::string method = parts.front();
  parts.erase(parts.begin());
  return method;
}

}  // namespace

std::optional<GroupScheme> find_group_scheme(std::string_view name, EncodingId type) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string form = lower;
  if (form == "bnb-int8" || form == "llm-int8") form = "bnb_int8";
  std::vector<std::string> parts = split(form);
  std::erase(parts, "ct");  // "w4a16-ct": compressed-tensors, which w4a16 means anyway
  if (parts.empty()) return std::nullopt;
  const std::string method = take_method(parts);
  std::optional<GroupScheme> out;
  if (form == "nf4" || form == "nf4-dq") {
    out = make_table(GroupLevels::NF4, form == "nf4-dq", type);
  } else if (form == "fp4" || form == "fp4-dq") {
    out = make_table(GroupLevels::FP4, form == "fp4-dq", type);
  } else {
    for (const Row& row : kRows) {
      if (row.method != parts.front()) continue;
      const auto read = read_parts(parts, name);
      if (read && !(read->symmetric && read->asymmetric)) out = row.make(*read, type);
    }
  }
  if (!out) return std::nullopt;
  out->name = lower;
  out->method = method.empty() ? parts.front() : method;
  if (method == "awq") out->transform = Transform::Awq;
  if (method == "smoothquant") out->transform = Transform::SmoothQuant;
  return out;
}

void note_gptq(GroupScheme& scheme, ColumnOrder order, double damping) {
  if (!scheme.gptq) {
    if (order != ColumnOrder::Activation) return;
    fail("--order act: {} files cannot say which group a column is of; use group-aware or static",
         scheme.dialect->name());
  }
  scheme.gptq->activation_order = order == ColumnOrder::Activation;
  scheme.gptq->static_groups = order == ColumnOrder::Static;
  scheme.gptq->group_aware = order == ColumnOrder::GroupAware;
  scheme.gptq->damping = damping;
  scheme.dialect = gptq_dialect(*scheme.gptq);
}

GroupSearch group_search_named(std::string_view name) {
  for (const auto& [known, search] : kSearches) {
    if (known == name) return search;
  }
  fail("--search {}: is no search; known are squares, absmax, minmax, range, hqq", name);
}

const std::vector<SchemeForm>& group_scheme_forms() {
  static const std::vector<SchemeForm> forms = {
      {"gptq-4bit-128g",
       "GPTQModel, AutoGPTQ, vLLM; 2, 3, 4 or 8 bit, any group or -channel, -sym or -asym, -v1 or -v2"},
      {"rtn-4bit-128g", "the same files, rounded to nearest on the plain grid of minimum and maximum"},
      {"awq-4bit-128g", "AutoAWQ, vLLM; scales folded into the model by activation, any group"},
      {"nf4, nf4-dq", "bitsandbytes 4-bit, scales in 32 bits or (dq) 8"},
      {"fp4, fp4-dq", "bitsandbytes with 4-bit floats: worse than nf4"},
      {"bnb-int8", "bitsandbytes LLM.int8"},
      {"hqq-4bit-64g", "HQQ; 8, 4, 3, 2 or 1 bit, any group"},
      {"eetq", "EETQ 8-bit"},
      {"w4a16-128g",
       "compressed-tensors for vLLM, 4-bit weights; any group or -channel, -sym or -asym; also gptq-w4a16, awq-w4a16"},
      {"w8a16", "compressed-tensors, 8-bit weights"},
      {"w8a8", "compressed-tensors, 8-bit weights and activations"},
      {"smoothquant-w8a8", "the same, with outliers of the activations folded into the weights"},
      {"smoothquant-w8a8-static", "the same, with activations on one scale a matrix, found on calibration text"},
  };
  return forms;
}

}  // namespace lowbit
