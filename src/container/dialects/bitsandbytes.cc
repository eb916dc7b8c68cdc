// bitsandbytes: NF4 and FP4 over flat blocks of 64, their scales in 8 bits if doubly quantized, and LLM.int8's rows.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "container/checks.h"
#include "container/dialects/pieces.h"

namespace lowbit {
namespace dialects {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kThreshold = 6;  // from which on LLM.int8 takes activations for outliers

std::string_view dtype_name(EncodingId id) {
  return id == EncodingId::F32 ? "float32" : id == EncodingId::F16 ? "float16" : "bfloat16";
}

class Bitsandbytes final : public Dialect {
 public:
  explicit Bitsandbytes(const BitsandbytesOptions& options) : options_(options) {}
  Bitsandbytes(const Json& config, const std::string& where) {
    const bool four =
        json_or<bool>(config, "load_in_4bit", json_or<bool>(config, "_load_in_4bit", false, where), where);
    if (!four) options_.levels = GroupLevels::Integer;
    // What a module is shows in its tensors; the config tells nothing else of them.
    threshold_ = json_or<double>(config, "llm_int8_threshold", kThreshold, where);
    if (!(threshold_ >= 0 && threshold_ < INFINITY)) {
      fail("{}: \"llm_int8_threshold\" is {}; it should be 0 (no outliers) or more", where, threshold_);
    }
  }

  std::string_view name() const override { return "bitsandbytes"; }

  std::vector<GroupModule> modules(const TensorStore& store) const override {
    std::vector<GroupModule> out;
    for (const std::string& module : modules_with(store, "weight.absmax")) out.push_back(describe_table(store, module));
    for (const std::string& module : modules_with(store, "SCB")) out.push_back(describe_rows(store, module));
    return out;
  }

  GroupMatrix read(const TensorStore& store, const GroupModule& module) const override {
    const Pieces pieces(store, module.name);
    GroupMatrix m = empty_matrix(module);
    const std::vector<uint8_t> stored = pieces.bytes("weight");
    if (module.format.levels == GroupLevels::Integer) {
      for (size_t i = 0; i < stored.size(); ++i) m.codes[i] = stored[i] ^ 0x80;
      m.scales = pieces.floats("SCB");
      for (float& s : m.scales) s /= 127;
      return m;
    }
    for (size_t i = 0; i + 1 < m.codes.size(); i += 2) {
      m.codes[i] = stored[i / 2] >> 4;
      m.codes[i + 1] = stored[i / 2] & 15;
    }
    if (m.codes.size() % 2 != 0) m.codes.back() = stored.back() >> 4;
    if (!module.format.doubly_quantized) {
      m.scales = pieces.floats("weight.absmax");
      return m;
    }
    QuantizedScales& scales = m.quantized_scales;
    scales.codes = pieces.bytes("weight.absmax");
    scales.block_scale = pieces.floats("weight.nested_absmax");
    scales.offset = static_cast<float>(json_at<double>(state(pieces), "nested_offset", where(pieces)));
    if (!std::isfinite(scales.offset)) pieces.refuse("\"nested_offset\" is not finite");
    m.scales = dequantize_scales(scales);
    return m;
  }

  std::string refusal(const GroupFormat& f, int64_t rows, int64_t cols) const override {
    if (f.levels == GroupLevels::Integer) {
      return f.bits == 8 && f.zero == GroupZero::Fixed && f.span == GroupSpan::Row && f.group == 0
                 ? ""
                 : "bitsandbytes holds integers of 8 bits, one scale a row";
    }
    if (f.span != GroupSpan::Flat || f.group != kBlock) return "bitsandbytes holds NF4 and FP4 in blocks of 64";
    return rows * cols % 2 == 0 ? "" : "an odd number of weights";
  }

  std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat& f, int64_t rows,
                                    int64_t cols) const override {
    const std::string weight = module + ".weight";
    if (f.levels == GroupLevels::Integer) {
      return {{module + ".SCB", {rows}, EncodingId::F32},
              {weight, {rows, cols}, EncodingId::I8},
              {module + ".weight_format", {}, EncodingId::U8}};
    }
    const int64_t blocks = group_count(f, rows, cols);
    std::vector<ModuleTensor> out = {
        {weight, {rows * cols / 2, 1}, EncodingId::U8},
        {weight + ".absmax", {blocks}, f.doubly_quantized ? EncodingId::U8 : EncodingId::F32},
        {weight + ".quant_map", {16}, EncodingId::F32}};
    if (f.doubly_quantized) {
      out.push_back({weight + ".nested_absmax", {(blocks + kScaleBlock - 1) / kScaleBlock}, EncodingId::F32});
      out.push_back({weight + ".nested_quant_map", {256}, EncodingId::F32});
    }
    // Its length is that of the text, whose one number has a fixed width.
    const auto length = static_cast<int64_t>(state_text(f, rows, cols, 0).size());
    out.push_back({weight + state_name(f), {length}, EncodingId::U8});
    return out;
  }

  std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    if (m.format.levels == GroupLevels::Integer) {
      std::vector<uint8_t> codes = m.codes;
      for (uint8_t& code : codes) code ^= 0x80;
      std::vector<float> most = m.scales;
      for (float& s : most) s *= 127;
      return {as_bytes(most), as_bytes(codes), as_bytes(std::vector<uint8_t>{0})};
    }
    std::vector<uint8_t> bytes(m.codes.size() / 2);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(m.codes[2 * i] << 4 | m.codes[2 * i + 1]);
    }
    const std::span<const float> levels = group_levels(m.format);
    const std::vector<float> map(levels.begin(), levels.end());
    std::vector<std::vector<std::byte>> out = {as_bytes(bytes)};
    float offset = 0;
    if (m.format.doubly_quantized) {
      const QuantizedScales& scales = m.quantized_scales;
      offset = scales.offset;
      const std::span<const float> dynamic = dynamic_map();
      out.push_back(as_bytes(scales.codes));
      out.push_back(as_bytes(map));
      out.push_back(as_bytes(scales.block_scale));
      out.push_back(as_bytes(std::vector<float>(dynamic.begin(), dynamic.end())));
    } else {
      out.push_back(as_bytes(m.scales));
      out.push_back(as_bytes(map));
    }
    const std::string text = state_text(m.format, m.rows, m.cols, offset);
    out.push_back(as_bytes(std::vector<char>(text.begin(), text.end())));
    return out;
  }

  Json config(const std::vector<std::string>& skipped) const override {
    const bool eight = options_.levels == GroupLevels::Integer;
    return {{"quant_method", "bitsandbytes"},
            {"_load_in_4bit", !eight},
            {"_load_in_8bit", eight},
            {"load_in_4bit", !eight},
            {"load_in_8bit", eight},
            {"bnb_4bit_compute_dtype", dtype_name(options_.compute)},
            {"bnb_4bit_quant_storage", "uint8"},
            {"bnb_4bit_quant_type", options_.levels == GroupLevels::FP4 ? "fp4" : "nf4"},
            {"bnb_4bit_use_double_quant", options_.doubly_quantized},
            {"llm_int8_enable_fp32_cpu_offload", false},
            {"llm_int8_has_fp16_weight", false},
            {"llm_int8_skip_modules", skipped.empty() ? Json(nullptr) : Json(skipped)},
            {"llm_int8_threshold", threshold_}};
  }

 private:
  static std::string where(const Pieces& pieces) { return pieces.name("weight.quant_state"); }
  static std::string state_name(const GroupFormat& f) {
    return std::string(".quant_state.bitsandbytes__") + (f.levels == GroupLevels::NF4 ? "nf4" : "fp4");
  }
  static const TensorInfo* find_state(const Pieces& pieces) {
    const TensorInfo* nf4 = pieces.find("weight.quant_state.bitsandbytes__nf4");
    return nf4 != nullptr ? nf4 : pieces.find("weight.quant_state.bitsandbytes__fp4");
  }

  static Json state(const Pieces& pieces) {
    const TensorInfo* info = find_state(pieces);
    if (info == nullptr || info->encoding->id != EncodingId::U8 || info->bytes > 4096) {
      pieces.refuse("tensor weight.quant_state.bitsandbytes__nf4 (or __fp4) is missing or no text");
    }
    const std::vector<uint8_t> text = pieces.bytes(info->name.substr(pieces.module().size() + 1));
    return parse_json(std::string(text.begin(), text.end()), where(pieces));
  }

  /// The nested offset is written with a fixed width (JSON allows blanks), so that the plan knows the tensor's size.
  std::string state_text(const GroupFormat& f, int64_t rows, int64_t cols, float offset) const {
    const char* type = f.levels == GroupLevels::NF4 ? "nf4" : "fp4";
    std::string text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}, {}])", type,
                                   kBlock, dtype_name(options_.compute), rows, cols);
    if (f.doubly_quantized) {
      text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {:>26})",
                          kScaleBlock, fmt::format("{:.17e}", static_cast<double>(offset)));
    }
    return text + "}";
  }

  GroupModule describe_table(const TensorStore& store, const std::string& name) const {
    const Pieces pieces(store, name);
    const Json json = state(pieces);
    GroupModule m;
    m.name = name;
    const auto type = json_at<std::string>(json, "quant_type", where(pieces));
    if (type != "nf4" && type != "fp4")
      pieces.refuse("quant_type {} is not supported; known are nf4, fp4", shown(type));
    m.format.levels = type == "nf4" ? GroupLevels::NF4 : GroupLevels::FP4;
    m.format.span = GroupSpan::Flat;
    m.format.number = EncodingId::F32;
    m.format.group = json_at<int64_t>(json, "blocksize", where(pieces));
    if (m.format.group < 1 || m.format.group > 65536) pieces.refuse("blocksize {} is out of range", m.format.group);
    const auto shape = json.find("shape");
    if (shape == json.end() || !shape->is_array() || shape->size() != 2 || !(*shape)[0].is_number_integer() ||
        !(*shape)[1].is_number_integer()) {
      pieces.refuse("\"shape\" of the quantization state should be two numbers");
    }
    m.rows = (*shape)[0].get<int64_t>();
    m.cols = (*shape)[1].get<int64_t>();
    const TensorInfo& codes = pieces.at("weight", {EncodingId::U8});
    int64_t count = 0;
    if (m.rows < 1 || m.cols < 1 || __builtin_mul_overflow(m.rows, m.cols, &count) ||
        codes.elements() != count / 2 + count % 2) {
      pieces.refuse("weight has {} bytes, which do not hold {} x {} codes of 4 bits", codes.elements(), m.rows, m.cols);
    }
    const TensorInfo& absmax = pieces.at("weight.absmax", {EncodingId::F32, EncodingId::U8});
    const int64_t blocks = group_count(m.format, m.rows, m.cols);
    pieces.at("weight.absmax", {EncodingId::F32, EncodingId::U8}, {blocks});
    m.tensors = {pieces.name("weight"), pieces.name("weight.absmax"), find_state(pieces)->name};
    check_map(pieces, "weight.quant_map", group_levels(m.format), m);
    if (absmax.encoding->id == EncodingId::U8) {
      m.format.doubly_quantized = true;
      if (json_at<int64_t>(json, "nested_blocksize", where(pieces)) != kScaleBlock) {
        pieces.refuse("\"nested_blocksize\" should be {}", kScaleBlock);
      }
      pieces.at("weight.nested_absmax", {EncodingId::F32}, {(blocks + kScaleBlock - 1) / kScaleBlock});
      m.tensors.push_back(pieces.name("weight.nested_absmax"));
      check_map(pieces, "weight.nested_quant_map", dynamic_map(), m);
    }
    return m;
  }

  /// A table of its own would be another format.
  static void check_map(const Pieces& pieces, std::string_view piece, std::span<const float> expected, GroupModule& m) {
    pieces.at(piece, {EncodingId::F32}, {static_cast<int64_t>(expected.size())});
    const std::vector<float> map = pieces.floats(piece);
    for (size_t i = 0; i < map.size(); ++i) {
      if (std::fabs(map[i] - expected[i]) > 1e-6F) {
        pieces.refuse("tensor {} is not the published table (entry {} is {}, not {})", pieces.name(piece), i, map[i],
                      expected[i]);
      }
    }
    m.tensors.push_back(pieces.name(piece));
  }

  GroupModule describe_rows(const TensorStore& store, const std::string& name) const {
    const Pieces pieces(store, name);
    GroupModule m;
    m.name = name;
    const TensorInfo& codes = pieces.at("weight", {EncodingId::I8});
    if (codes.shape.size() != 2 || codes.elements() == 0) pieces.refuse("weight should be a matrix");
    m.rows = codes.shape[0];
    m.cols = codes.shape[1];
    m.format.bits = 8;
    m.format.number = EncodingId::F32;
    m.inputs.scales = InputRounding::Scales::Token;
    m.inputs.outlier = static_cast<float>(threshold_);
    pieces.at("SCB", {EncodingId::F32, EncodingId::F16, EncodingId::BF16}, {m.rows});
    m.tensors = {pieces.name("weight"), pieces.name("SCB")};
    if (pieces.find("weight_format") != nullptr) {
      if (pieces.integer("weight_format") != 0)
        pieces.refuse("weight_format is not 0 (rows): save it again with a newer bitsandbytes");
      m.tensors.push_back(pieces.name("weight_format"));
    }
    return m;
  }

  BitsandbytesOptions options_;
  double threshold_ = kThreshold;
};

}  // namespace

std::unique_ptr<Dialect> read_bitsandbytes(const Json& config, const std::string& where) {
  return std::make_unique<Bitsandbytes>(config, where);
}

}  // namespace dialects

std::unique_ptr<Dialect> bitsandbytes_dialect(const BitsandbytesOptions& options) {
  return std::make_unique<dialects::Bitsandbytes>(options);
}

}  // namespace lowbit
