// GPTQ: the files of AutoGPTQ and GPTQModel, which transformers, vLLM and ExLlama read. Codes are packed along the
// inputs, zero points along the outputs, both as little-endian streams in 32-bit words; the first version of the format
// stores zero points less one.
#include <algorithm>

#include "base/error.h"
#include "container/checks.h"
#include "container/dialects/pieces.h"

namespace lowbit {
namespace dialects {
namespace {

bool known_bits(int64_t bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 8; }

/// What the first version takes off each zero point of a word, as GPTQModel does: one subtraction, with borrows. (For
/// three bits fields straddle words: each is taken modulo 8.)
uint32_t ones(int bits) {
  uint32_t out = 0;
  for (int at = 0; at < 32; at += bits) out |= 1u << at;
  return out;
}

class Gptq final : public Dialect {
 public:
  explicit Gptq(const GptqOptions& options) : options_(options) {}
  Gptq(const Json& config, const std::string& where) {
    const auto bits = json_at<int64_t>(config, "bits", where);
    if (!known_bits(bits)) fail("{}: \"bits\" is {}; known are 2, 3, 4 and 8", where, bits);
    options_.bits = static_cast<int>(bits);
    options_.group = group_size(config, "group_size", -1, where);
    const auto format =
        json_or<std::string>(config, "checkpoint_format", json_or<std::string>(config, "format", "gptq", where), where);
    if (format != "gptq" && format != "gptq_v2") {
      fail("{}: \"checkpoint_format\" {} is not supported; known are gptq and gptq_v2", where, shown(format));
    }
    options_.second_version = format == "gptq_v2";
    dynamic_ = config.contains("dynamic") && config["dynamic"].is_object() && !config["dynamic"].empty();
  }

  std::string_view name() const override { return "gptq"; }

  std::vector<GroupModule> modules(const TensorStore& store) const override {
    std::vector<GroupModule> out;
    for (const std::string& module : modules_with(store, "qweight")) out.push_back(describe(store, module));
    return out;
  }

  GroupMatrix read(const TensorStore& store, const GroupModule& module) const override {
    const Pieces pieces(store, module.name);
    GroupMatrix m = empty_matrix(module);
    const int bits = module.format.bits;
    const int64_t groups = groups_per_row(module.format, module.cols);
    unpack_codes(pieces.words("qweight"), bits, m);
    m.scales = transposed(pieces.floats("scales"), groups, m.rows);
    const std::vector<float> zeros = unpack_zeros(pieces.words("qzeros"), bits, groups, m.rows);
    if (module.format.zero == GroupZero::Integer) m.zeros = transposed(zeros, groups, m.rows);
    m.group_of_column = module.group_of_column;
    return m;
  }

  std::string refusal(const GroupFormat& f, int64_t rows, int64_t cols) const override {
    if (f.levels != GroupLevels::Integer || f.zero == GroupZero::Float || f.span != GroupSpan::Row ||
        !known_bits(f.bits) || f.number != EncodingId::F16) {
      return "GPTQ files hold integers of 2, 3, 4 or 8 bits in groups of columns, with F16 scales";
    }
    if (rows % kFieldBatch != 0 || cols % kFieldBatch != 0) return "rows and columns must be multiples of 32";
    return "";
  }

  std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat& f, int64_t rows,
                                    int64_t cols) const override {
    const int64_t groups = groups_per_row(f, cols);
    return {{module + ".g_idx", {cols}, EncodingId::I32},
            {module + ".qweight", {cols * f.bits / 32, rows}, EncodingId::I32},
            {module + ".qzeros", {groups, rows * f.bits / 32}, EncodingId::I32},
            {module + ".scales", {groups, rows}, EncodingId::F16}};
  }

  std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    const int64_t groups = groups_per_row(m.format, m.cols);
    std::vector<int32_t> order = m.group_of_column;
    for (int64_t c = 0; order.size() < static_cast<size_t>(m.cols); ++c) {
      order.push_back(static_cast<int32_t>(m.format.group == 0 ? 0 : c / m.format.group));
    }
    return {as_bytes(order), as_bytes(pack_codes(m)), as_bytes(pack_zeros(m, groups)),
            floats_as(EncodingId::F16, transposed(m.scales, m.rows, groups))};
  }

  std::string config_file() const override { return "quantize_config.json"; }

  Json config(const std::vector<std::string>& skipped) const override {
    const char* format = options_.second_version ? "gptq_v2" : "gptq";
    Json out = {{"quant_method", "gptq"},
                {"bits", options_.bits},
                {"group_size", group_json(options_.group)},
                {"desc_act", options_.activation_order},
                {"sym", options_.symmetric},
                {"lm_head", false},
                {"damp_percent", options_.damping},
                {"true_sequential", options_.true_sequential},
                {"static_groups", options_.static_groups},
                {"act_group_aware", options_.group_aware},
                {"method", "gptq"},
                {"format", format},
                {"checkpoint_format", format},
                {"pack_dtype", "int32"},
                {"meta", {{"quantizer", {"lowbit"}}}}};
    for (const std::string& module : skipped) {
      if (module != "lm_head") out["dynamic"]["-:" + module] = Json::object();  // "-:" means: not this one
    }
    return out;
  }

 private:
  GroupModule describe(const TensorStore& store, const std::string& name) const {
    const Pieces pieces(store, name);
    GroupModule m;
    m.name = name;
    const TensorInfo& codes = pieces.at("qweight", {EncodingId::I32});
    const TensorInfo& scales = pieces.at("scales", {EncodingId::F16, EncodingId::BF16, EncodingId::F32});
    if (codes.shape.size() != 2 || scales.shape.size() != 2 || codes.elements() == 0 || scales.elements() == 0) {
      pieces.refuse("qweight and scales should be matrices");
    }
    m.rows = codes.shape[1];
    m.format.bits = options_.bits;
    const TensorInfo* order = pieces.find("g_idx");
    if (order != nullptr) {
      pieces.at("g_idx", {EncodingId::I32, EncodingId::I64}, {order->elements()});
      m.cols = order->elements();
      // Per-module overrides of "dynamic" show in the shapes.
      if (dynamic_ && m.cols % 32 == 0 && m.cols > 0) m.format.bits = static_cast<int>(codes.shape[0] * 32 / m.cols);
    } else {
      m.cols = codes.shape[0] * 32 / options_.bits;
    }
    const int bits = m.format.bits;
    if (!known_bits(bits) || m.cols % kFieldBatch != 0 || m.rows % kFieldBatch != 0 ||
        codes.shape[0] != m.cols * bits / 32) {
      pieces.refuse("qweight of {} x {} words does not hold {} x {} codes of {} bits", codes.shape[0], codes.shape[1],
                    m.rows, m.cols, bits);
    }
    m.format.group = options_.group >= m.cols ? 0 : options_.group;
    if (dynamic_ && groups_per_row(m.format, m.cols) != scales.shape[0] && m.cols % scales.shape[0] == 0) {
      m.format.group = m.cols / scales.shape[0];
    }
    m.format.number = scales.encoding->id;
    const int64_t groups = groups_per_row(m.format, m.cols);
    pieces.at("scales", {scales.encoding->id}, {groups, m.rows});
    pieces.at("qzeros", {EncodingId::I32}, {groups, m.rows * bits / 32});
    m.format.zero = symmetric(pieces, bits) ? GroupZero::Fixed : GroupZero::Integer;
    if (order != nullptr) m.group_of_column = read_order(pieces, m, groups);
    m.tensors = {pieces.name("qweight"), pieces.name("qzeros"), pieces.name("scales")};
    if (order != nullptr) m.tensors.push_back(pieces.name("g_idx"));
    return m;
  }

  /// Whether every zero point is the middle one: "sym" in the config is a claim, the numbers count.
  bool symmetric(const Pieces& pieces, int bits) const {
    const uint32_t middle = (1u << (bits - 1)) - (options_.second_version ? 0 : 1);
    std::vector<uint32_t> pattern(static_cast<size_t>(bits), 0);
    for (int64_t i = 0; i < kFieldBatch; ++i) put_field(pattern.data(), 1, i, bits, middle);
    const std::vector<uint32_t> words = pieces.words("qzeros");
    for (size_t i = 0; i < words.size(); ++i) {
      if (words[i] != pattern[i % pattern.size()]) return false;
    }
    return true;
  }

  /// Empty if columns are in the order of their groups.
  static std::vector<int32_t> read_order(const Pieces& pieces, const GroupModule& m, int64_t groups) {
    const std::vector<uint8_t> raw = pieces.bytes("g_idx");
    const size_t size = raw.size() / static_cast<size_t>(m.cols);
    std::vector<int32_t> out;
    bool sequential = true;
    for (int64_t c = 0; c < m.cols; ++c) {
      int64_t group = 0;
      std::memcpy(&group, raw.data() + static_cast<size_t>(c) * size, size);
      if (group < 0 || group >= groups) {
        pieces.refuse("g_idx says that column {} is of group {}, but there are {}", c, group, groups);
      }
      out.push_back(static_cast<int32_t>(group));
      sequential = sequential && group == (m.format.group == 0 ? 0 : c / m.format.group);
    }
    return sequential ? std::vector<int32_t>() : out;
  }

  static void unpack_codes(const std::vector<uint32_t>& words, int bits, GroupMatrix& m) {
    constexpr int64_t kRows = 64;  // whose codes are written side by side: all of a column would touch too many pages
    uint32_t batch[8];
    for (int64_t first = 0; first < m.rows; first += kRows) {
      for (int64_t c = 0; c < m.cols; c += kFieldBatch) {
        const uint32_t* from = words.data() + c * bits / 32 * m.rows;
        for (int64_t r = first; r < std::min(m.rows, first + kRows); ++r) {
          for (int w = 0; w < bits; ++w) batch[w] = from[w * m.rows + r];
          get_batch(batch, bits, m.codes.data() + r * m.cols + c);
        }
      }
    }
  }

  static std::vector<uint32_t> pack_codes(const GroupMatrix& m) {
    const int bits = m.format.bits;
    std::vector<uint32_t> words(static_cast<size_t>(m.cols * bits / 32 * m.rows), 0);
    for (int64_t c = 0; c < m.cols; c += kFieldBatch) {
      uint32_t* to = words.data() + c * bits / 32 * m.rows;
      for (int64_t r = 0; r < m.rows; ++r) {
        uint32_t batch[8] = {};
        const uint8_t* from = m.codes.data() + r * m.cols + c;
        for (int64_t i = 0; i < kFieldBatch; ++i) put_field(batch, 1, i, bits, from[i]);
        for (int w = 0; w < bits; ++w) to[w * m.rows + r] = batch[w];
      }
    }
    return words;
  }

  /// [groups, rows]
  std::vector<float> unpack_zeros(std::vector<uint32_t> words, int bits, int64_t groups, int64_t rows) const {
    const bool first = !options_.second_version;
    if (first && bits != 3) {
      for (uint32_t& word : words) word += ones(bits);
    }
    std::vector<float> out;
    out.reserve(static_cast<size_t>(groups * rows));
    for (int64_t g = 0; g < groups; ++g) {
      const uint32_t* row = words.data() + g * (rows * bits / 32);
      for (int64_t r = 0; r < rows; ++r) {
        uint32_t zero = get_field(row, 1, r, bits);
        if (first && bits == 3) zero = (zero + 1) & 7;
        out.push_back(static_cast<float>(zero));
      }
    }
    return out;
  }

  std::vector<uint32_t> pack_zeros(const GroupMatrix& m, int64_t groups) const {
    const int bits = m.format.bits;
    const int64_t row_words = m.rows * bits / 32;
    std::vector<uint32_t> words(static_cast<size_t>(groups * row_words), 0);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t r = 0; r < m.rows; ++r) {
        const auto zero = static_cast<uint32_t>(m.zero_at(r * groups + g));
        // Only a second version can tell zero point 0: GroupFormat::lowest_zero keeps it out of the first.
        const uint32_t stored = options_.second_version ? zero : (zero - 1) & ((1u << bits) - 1);
        put_field(words.data() + g * row_words, 1, r, bits, stored);
      }
    }
    return words;
  }

  GptqOptions options_;
  bool dynamic_ = false;
};

}  // namespace

std::unique_ptr<Dialect> read_gptq(const Json& config, const std::string& where) {
  return std::make_unique<Gptq>(config, where);
}

}  // namespace dialects

std::unique_ptr<Dialect> gptq_dialect(const GptqOptions& options) { return std::make_unique<dialects::Gptq>(options); }

}  // namespace lowbit
