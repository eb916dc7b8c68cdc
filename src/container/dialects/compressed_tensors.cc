// compressed-tensors, vLLM's own: "pack-quantized" holds weights of few bits as streams of 32-bit words,
// "int-quantized" holds 8-bit weights beside 8-bit activations.
#include <algorithm>

#include "base/error.h"
#include "container/checks.h"
#include "container/dialects/pieces.h"

namespace lowbit {
namespace dialects {
namespace {

constexpr std::initializer_list<EncodingId> kFloats = {EncodingId::BF16, EncodingId::F16, EncodingId::F32};

class CompressedTensors final : public Dialect {
 public:
  explicit CompressedTensors(const CompressedTensorsOptions& options) : options_(options) {}
  CompressedTensors(const Json& config, const std::string& where) {
    const auto format = json_or<std::string>(config, "format", "", where);
    if (format != "pack-quantized" && format != "int-quantized" && format != "naive-quantized") {
      fail("{}: \"format\" {} is not supported; known are pack-quantized and int-quantized", where, shown(format));
    }
    const auto groups = config.find("config_groups");
    if (groups == config.end() || !groups->is_object() || groups->size() != 1) {
      fail("{}: \"config_groups\" should hold one group: mixtures are not supported", where);
    }
    const Json& group = groups->begin().value();
    if (!group.is_object() || !group.contains("weights") || !group["weights"].is_object()) {
      fail("{}: \"weights\" is missing", where);
    }
    const Json& weights = group["weights"];
    const auto type = json_or<std::string>(weights, "type", "int", where);
    const auto bits = json_at<int64_t>(weights, "num_bits", where);
    if (type != "int" || bits < 2 || bits > 8) {
      fail("{}: weights of type {} with {} bits are not supported; int of 2 to 8 bits is", where, shown(type), bits);
    }
    options_.bits = static_cast<int>(bits);
    strategy_ = json_or<std::string>(weights, "strategy", "channel", where);
    if (strategy_ != "group" && strategy_ != "channel" && strategy_ != "tensor") {
      fail("{}: \"strategy\" {} is not supported; known are group, channel and tensor", where, shown(strategy_));
    }
    options_.group = strategy_ == "group" ? group_size(weights, "group_size", -1, where) : 0;
    read_activations(group.value("input_activations", Json()), where);
  }

  std::string_view name() const override { return "compressed-tensors"; }

  std::vector<GroupModule> modules(const TensorStore& store) const override {
    std::vector<GroupModule> out;
    for (const std::string& module : modules_with(store, "weight_scale")) out.push_back(describe(store, module));
    return out;
  }

  GroupMatrix read(const TensorStore& store, const GroupModule& module) const override {
    const Pieces pieces(store, module.name);
    GroupMatrix m = empty_matrix(module);
    const int bits = m.format.bits;
    if (pieces.find("weight_packed") != nullptr) {
      const std::vector<uint32_t> words = pieces.words("weight_packed");
      const int64_t row_words = words_for(m.cols, bits);
      for (int64_t r = 0; r < m.rows; ++r) {
        get_fields(words.data() + r * row_words, m.cols, bits, m.codes.data() + r * m.cols);
      }
    } else {
      const std::vector<uint8_t> stored = pieces.bytes("weight");
      const int half = 1 << (bits - 1);
      for (size_t i = 0; i < stored.size(); ++i) {
        const int code = static_cast<int8_t>(stored[i]) + half;
        if (code < 0 || code >= 2 * half) pieces.refuse("weight holds {}, more than {} bits", code - half, bits);
        m.codes[i] = static_cast<uint8_t>(code);
      }
    }
    m.scales = pieces.floats("weight_scale");
    m.input_scale = module.inputs.scale;
    if (m.format.zero == GroupZero::Integer) m.zeros = read_zeros(pieces, m);
    return m;
  }

  std::string refusal(const GroupFormat& f, int64_t, int64_t cols) const override {
    if (f.levels != GroupLevels::Integer || f.zero == GroupZero::Float ||
        (f.span != GroupSpan::Row && f.span != GroupSpan::Tensor)) {
      return "compressed-tensors files hold integers in groups of columns";
    }
    if (options_.packed && f.bits != 2 && f.bits != 4 && f.bits != 8) return "packed weights have 2, 4 or 8 bits";
    if (!options_.packed && f.bits != 8) return "int-quantized weights have 8 bits";
    if (f.span == GroupSpan::Row && f.group != 0 && cols % f.group != 0)
      return "columns must be a multiple of the group";
    return "";
  }

  std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat& f, int64_t rows,
                                    int64_t cols) const override {
    const std::vector<int64_t> scales =
        f.span == GroupSpan::Tensor ? std::vector<int64_t>{1} : std::vector<int64_t>{rows, groups_per_row(f, cols)};
    if (!options_.packed) {
      std::vector<ModuleTensor> out = {{module + ".weight", {rows, cols}, EncodingId::I8},
                                       {module + ".weight_scale", scales, f.number}};
      if (static_inputs()) out.push_back({module + ".input_scale", {1}, f.number});
      if (f.zero == GroupZero::Integer) out.push_back({module + ".weight_zero_point", scales, EncodingId::I8});
      return out;
    }
    std::vector<ModuleTensor> out = {{module + ".weight_packed", {rows, words_for(cols, f.bits)}, EncodingId::I32},
                                     {module + ".weight_scale", scales, f.number},
                                     {module + ".weight_shape", {2}, EncodingId::I64}};
    if (f.zero == GroupZero::Integer) {
      out.push_back({module + ".weight_zero_point",
                     {words_for(scales[0], f.bits), scales.size() > 1 ? scales[1] : 1},
                     EncodingId::I32});
    }
    return out;
  }

  std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    const int bits = m.format.bits;
    if (!options_.packed) {
      std::vector<uint8_t> codes = m.codes;
      for (uint8_t& code : codes) code ^= 0x80;
      std::vector<std::vector<std::byte>> out = {as_bytes(codes), floats_as(m.format.number, m.scales)};
      if (static_inputs()) out.push_back(floats_as(m.format.number, {m.input_scale}));
      if (m.format.zero == GroupZero::Integer) {
        std::vector<int8_t> zeros;
        for (const float z : m.zeros) zeros.push_back(static_cast<int8_t>(z - 128));
        out.push_back(as_bytes(zeros));
      }
      return out;
    }
    const int64_t row_words = words_for(m.cols, bits);
    std::vector<uint32_t> words(static_cast<size_t>(m.rows * row_words));
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t c = 0; c < m.cols; ++c) put_field(words.data() + r * row_words, 1, c, bits, m.codes[r * m.cols + c]);
    }
    std::vector<std::vector<std::byte>> out = {as_bytes(words), floats_as(m.format.number, m.scales),
                                               as_bytes(std::vector<int64_t>{m.rows, m.cols})};
    if (m.format.zero == GroupZero::Integer) out.push_back(as_bytes(pack_zeros(m)));
    return out;
  }

  Json config(const std::vector<std::string>& skipped) const override {
    const char* strategy = options_.per_tensor ? "tensor" : options_.group == 0 ? "channel" : "group";
    const auto arguments = [](int bits, bool symmetric, const char* by, const Json& group, bool dynamic) {
      return Json{{"num_bits", bits}, {"type", "int"},       {"symmetric", symmetric},
                  {"strategy", by},   {"group_size", group}, {"dynamic", dynamic}};
    };
    Json activations = nullptr;
    if (options_.activations == CompressedTensorsOptions::Activations::PerToken) {
      activations = arguments(8, true, "token", nullptr, true);
    } else if (options_.activations == CompressedTensorsOptions::Activations::PerTensor) {
      activations = arguments(8, true, "tensor", nullptr, false);
    }
    const Json group = options_.group == 0 ? Json(nullptr) : Json(options_.group);
    return {{"quant_method", "compressed-tensors"},
            {"format", options_.packed ? "pack-quantized" : "int-quantized"},
            {"quantization_status", "compressed"},
            {"ignore", skipped},
            {"kv_cache_scheme", nullptr},
            {"config_groups",
             {{"group_0",
               {{"targets", {"Linear"}},
                {"weights", arguments(options_.bits, options_.symmetric, strategy, group, false)},
                {"input_activations", activations},
                {"output_activations", nullptr}}}}}};
  }

 private:
  bool static_inputs() const { return options_.activations == CompressedTensorsOptions::Activations::PerTensor; }

  /// Packed along the outputs; one scale of a whole tensor counts as one output.
  static std::vector<uint32_t> pack_zeros(const GroupMatrix& m) {
    const int64_t outputs = m.format.span == GroupSpan::Tensor ? 1 : m.rows;
    const int64_t groups = static_cast<int64_t>(m.scales.size()) / outputs;
    std::vector<uint32_t> words(static_cast<size_t>(words_for(outputs, m.format.bits) * groups));
    for (int64_t r = 0; r < outputs; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        put_field(words.data() + g, groups, r, m.format.bits, static_cast<uint32_t>(m.zeros[r * groups + g]));
      }
    }
    return words;
  }

  static std::vector<float> read_zeros(const Pieces& pieces, const GroupMatrix& m) {
    const int64_t outputs = m.format.span == GroupSpan::Tensor ? 1 : m.rows;
    const int64_t groups = static_cast<int64_t>(m.scales.size()) / outputs;
    std::vector<float> out;
    if (pieces.at("weight_zero_point", {EncodingId::I32, EncodingId::I8}).encoding->id == EncodingId::I8) {
      const float half = static_cast<float>(1 << (m.format.bits - 1));
      for (const uint8_t z : pieces.bytes("weight_zero_point"))
        out.push_back(static_cast<float>(static_cast<int8_t>(z)) + half);
      return out;
    }
    const std::vector<uint32_t> words = pieces.words("weight_zero_point");
    for (int64_t r = 0; r < outputs; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        out.push_back(static_cast<float>(get_field(words.data() + g, groups, r, m.format.bits)));
      }
    }
    return out;
  }

  GroupModule describe(const TensorStore& store, const std::string& name) const {
    const Pieces pieces(store, name);
    GroupModule m;
    m.name = name;
    m.format.bits = options_.bits;
    if (pieces.find("weight_g_idx") != nullptr) pieces.refuse("\"weight_g_idx\" (activation order) is not supported");
    const bool packed = pieces.find("weight_packed") != nullptr;
    if (packed) {
      pieces.at("weight_shape", {EncodingId::I64}, {2});
      const std::vector<uint8_t> shape = pieces.bytes("weight_shape");
      std::memcpy(&m.rows, shape.data(), sizeof m.rows);
      std::memcpy(&m.cols, shape.data() + sizeof m.rows, sizeof m.cols);
      int64_t count = 0;
      if (m.rows < 1 || m.cols < 1 || __builtin_mul_overflow(m.rows, m.cols, &count) || count > (int64_t{1} << 40)) {
        pieces.refuse("weight_shape says {} x {}", m.rows, m.cols);
      }
      pieces.at("weight_packed", {EncodingId::I32}, {m.rows, words_for(m.cols, options_.bits)});
      m.tensors = {pieces.name("weight_packed"), pieces.name("weight_shape")};
    } else {
      const TensorInfo& codes = pieces.at("weight", {EncodingId::I8});
      if (codes.shape.size() != 2 || codes.elements() == 0) pieces.refuse("weight should be a matrix");
      m.rows = codes.shape[0];
      m.cols = codes.shape[1];
      m.tensors = {pieces.name("weight")};
    }
    describe_scales(pieces, m, packed);
    describe_inputs(pieces, m);
    for (const char* piece : {"input_scale", "input_zero_point"}) {
      if (pieces.find(piece) != nullptr) m.tensors.push_back(pieces.name(piece));
    }
    return m;
  }

  void read_activations(const Json& inputs, const std::string& where) {
    if (!inputs.is_object() || json_or<std::string>(inputs, "type", "int", where) != "int") return;
    if (json_or<int64_t>(inputs, "num_bits", 8, where) != 8) return;
    const auto strategy = json_or<std::string>(inputs, "strategy", "", where);
    const bool dynamic = json_or<bool>(inputs, "dynamic", false, where);
    if (strategy == "token" && dynamic) options_.activations = CompressedTensorsOptions::Activations::PerToken;
    if (strategy == "tensor" && !dynamic && json_or<bool>(inputs, "symmetric", true, where)) {
      options_.activations = CompressedTensorsOptions::Activations::PerTensor;
    }
  }

  void describe_inputs(const Pieces& pieces, GroupModule& m) const {
    using Activations = CompressedTensorsOptions::Activations;
    if (options_.activations == Activations::PerToken) m.inputs.scales = InputRounding::Scales::Token;
    if (options_.activations != Activations::PerTensor) return;
    m.inputs.scales = InputRounding::Scales::Fixed;
    if (pieces.at("input_scale", kFloats).elements() != 1) pieces.refuse("input_scale should be one number");
    m.inputs.scale = pieces.floats("input_scale").front();
    if (!(m.inputs.scale > 0)) pieces.refuse("input_scale is {}", m.inputs.scale);
  }

  void describe_scales(const Pieces& pieces, GroupModule& m, bool packed) const {
    const TensorInfo& scale = pieces.at("weight_scale", kFloats);
    m.format.number = scale.encoding->id;
    m.format.group = options_.group >= m.cols ? 0 : options_.group;
    if (scale.elements() == 1 && strategy_ == "tensor") m.format.span = GroupSpan::Tensor;
    const int64_t groups = group_count(m.format, m.rows, m.cols);
    if (scale.elements() != groups)
      pieces.refuse("weight_scale has {} elements, {} expected", scale.elements(), groups);
    m.tensors.push_back(pieces.name("weight_scale"));
    if (pieces.find("weight_zero_point") == nullptr) return;
    m.format.zero = GroupZero::Integer;
    const TensorInfo& zero = pieces.at("weight_zero_point", {EncodingId::I32, EncodingId::I8});
    const int64_t outputs = m.format.span == GroupSpan::Tensor ? 1 : m.rows;
    const bool words = packed && zero.encoding->id == EncodingId::I32;
    const int64_t expected = words ? words_for(outputs, m.format.bits) * (groups / outputs) : groups;
    if (zero.elements() != expected || (!words && zero.encoding->id != EncodingId::I8)) {
      pieces.refuse("weight_zero_point has {} elements, {} expected", zero.elements(), expected);
    }
    m.tensors.push_back(pieces.name("weight_zero_point"));
  }

  CompressedTensorsOptions options_;
  std::string strategy_ = "channel";
};

}  // namespace

std::unique_ptr<Dialect> read_compressed_tensors(const Json& config, const std::string& where) {
  return std::make_unique<CompressedTensors>(config, where);
}

}  // namespace dialects

std::unique_ptr<Dialect> compressed_tensors_dialect(const CompressedTensorsOptions& options) {
  return std::make_unique<dialects::CompressedTensors>(options);
}

}  // namespace lowbit
