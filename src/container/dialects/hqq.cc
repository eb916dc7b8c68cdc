// HQQ: integers with float zero points over flat groups; codes of far-apart rows of the grouped matrix share a byte
// (or, for 3 bits, a word). The tensors are those of HQQLinear.state_dict() as safetensors can hold them.
#include <cmath>

#include "base/error.h"
#include "container/checks.h"
#include "container/dialects/pieces.h"

namespace lowbit {
namespace dialects {
namespace {

/// How the codes of a grouped matrix are packed: `slabs` equal runs of its rows side by side in one unit, the first in
/// the highest bits.
struct Packing {
  std::string_view name;
  int bits, slabs, unit_bytes;
};
constexpr Packing kPackings[] = {
    {"8bit_u8", 8, 1, 1}, {"4bit_u8", 4, 2, 1}, {"3bit_32", 3, 10, 4}, {"2bit_u8", 2, 4, 1}, {"1bit_u8", 1, 8, 1}};

const Packing* packing_of(int64_t bits) {
  for (const Packing& p : kPackings) {
    if (p.bits == bits) return &p;
  }
  return nullptr;
}

constexpr std::initializer_list<EncodingId> kFloats = {EncodingId::F32, EncodingId::F16, EncodingId::BF16};
constexpr std::string_view kScalars[] = {"nbits",
                                         "group_size",
                                         "shape",
                                         "axis",
                                         "channel_wise",
                                         "optimize",
                                         "round_zero",
                                         "view_as_float",
                                         "offload_meta",
                                         "packing",
                                         "unpack_view_dtype",
                                         "compute_dtype",
                                         "quant_zero",
                                         "quant_scale",
                                         "encoded_state_dict",
                                         "stores_quant_config"};

std::string_view dtype_name(EncodingId id) {
  return id == EncodingId::F32 ? "torch.float32" : id == EncodingId::F16 ? "torch.float16" : "torch.bfloat16";
}

std::vector<std::byte> text_bytes(std::string_view text) {
  return as_bytes(std::vector<char>(text.begin(), text.end()));
}
std::vector<std::byte> byte_of(int value) { return as_bytes(std::vector<uint8_t>{static_cast<uint8_t>(value)}); }

class Hqq final : public Dialect {
 public:
  explicit Hqq(const HqqOptions& options) : options_(options) {}
  Hqq() = default;

  std::string_view name() const override { return "hqq"; }

  std::vector<GroupModule> modules(const TensorStore& store) const override {
    std::vector<GroupModule> out;
    for (const std::string& module : modules_with(store, "W_q")) out.push_back(describe(store, module));
    return out;
  }

  GroupMatrix read(const TensorStore& store, const GroupModule& module) const override {
    const Pieces pieces(store, module.name);
    GroupMatrix m = empty_matrix(module);
    const Packing& packing = *packing_of(m.format.bits);
    const int64_t count = m.rows * m.cols, width = width_of(m.format, count), height = count / width;
    const int64_t slab = (height + packing.slabs - 1) / packing.slabs;
    const std::vector<uint8_t> raw = pieces.bytes("W_q");
    for (int64_t r = 0; r < height; ++r) {
      const int shift = packing.bits * static_cast<int>(packing.slabs - 1 - r / slab);
      const uint8_t* units = raw.data() + r % slab * width * packing.unit_bytes;
      uint8_t* codes = m.codes.data() + r * width;
      const uint32_t mask = (1u << packing.bits) - 1;
      if (packing.unit_bytes == 1) {
        for (int64_t c = 0; c < width; ++c) codes[c] = static_cast<uint8_t>(units[c] >> shift & mask);
        continue;
      }
      for (int64_t c = 0; c < width; ++c) {
        uint32_t unit;
        std::memcpy(&unit, units + 4 * c, sizeof unit);
        codes[c] = static_cast<uint8_t>(unit >> shift & mask);
      }
    }
    m.scales = pieces.floats("scale");
    m.zeros = pieces.floats("zero");
    return m;
  }

  std::string refusal(const GroupFormat& f, int64_t rows, int64_t cols) const override {
    const Packing* packing = packing_of(f.bits);
    if (packing == nullptr || f.levels != GroupLevels::Integer || f.zero != GroupZero::Float ||
        f.span != GroupSpan::Flat || f.group == 0) {
      return "HQQ files hold integers of 8, 4, 3, 2 or 1 bits with float zero points in flat groups";
    }
    if (rows * cols % f.group != 0)
      return fmt::format("{} weights are no multiple of the group of {}", rows * cols, f.group);
    if (packing->unit_bytes == 1 && rows * cols / f.group % packing->slabs != 0) {
      return fmt::format("{} groups are no multiple of {}", rows * cols / f.group, packing->slabs);
    }
    return "";
  }

  std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat& f, int64_t rows,
                                    int64_t cols) const override {
    const Packing& packing = *packing_of(f.bits);
    const int64_t groups = group_count(f, rows, cols), slab = (groups + packing.slabs - 1) / packing.slabs;
    const auto length = [](std::string_view text) { return static_cast<int64_t>(text.size()); };
    const auto piece = [&](std::string_view name, std::vector<int64_t> shape, EncodingId type) {
      return ModuleTensor{module + "." + std::string(name), std::move(shape), type};
    };
    return {piece("W_q", {slab, f.group}, packing.unit_bytes == 4 ? EncodingId::I32 : EncodingId::U8),
            piece("scale", {groups, 1}, f.number),
            piece("zero", {groups, 1}, f.number),
            piece("nbits", {}, EncodingId::I32),
            piece("group_size", {}, EncodingId::I32),
            piece("axis", {}, EncodingId::I32),
            piece("shape", {2}, EncodingId::I64),
            piece("channel_wise", {}, EncodingId::U8),
            piece("optimize", {}, EncodingId::U8),
            piece("round_zero", {}, EncodingId::U8),
            piece("view_as_float", {}, EncodingId::U8),
            piece("offload_meta", {}, EncodingId::U8),
            piece("quant_zero", {}, EncodingId::U8),
            piece("quant_scale", {}, EncodingId::U8),
            piece("encoded_state_dict", {}, EncodingId::U8),
            piece("stores_quant_config", {}, EncodingId::U8),
            piece("packing", {length(packing.name)}, EncodingId::U8),
            piece("unpack_view_dtype", {length(view_type(packing))}, EncodingId::U8),
            piece("compute_dtype", {length(dtype_name(options_.compute))}, EncodingId::U8)};
  }

  std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    const Packing& packing = *packing_of(m.format.bits);
    const int64_t width = m.format.group, height = m.rows * m.cols / width;
    const int64_t slab = (height + packing.slabs - 1) / packing.slabs;
    std::vector<uint32_t> units(static_cast<size_t>(slab * width));
    for (int64_t r = 0; r < height; ++r) {
      const int shift = packing.bits * static_cast<int>(packing.slabs - 1 - r / slab);
      for (int64_t c = 0; c < width; ++c) {
        units[static_cast<size_t>(r % slab * width + c)] |=
            static_cast<uint32_t>(m.codes[static_cast<size_t>(r * width + c)]) << shift;
      }
    }
    std::vector<std::byte> codes;
    if (packing.unit_bytes == 4) {
      codes = as_bytes(units);
    } else {
      codes = as_bytes(std::vector<uint8_t>(units.begin(), units.end()));
    }
    const auto number = [](int64_t value) { return as_bytes(std::vector<int32_t>{static_cast<int32_t>(value)}); };
    return {codes,
            floats_as(m.format.number, m.scales),
            floats_as(m.format.number, m.zeros),
            number(m.format.bits),
            number(width),
            number(1),
            as_bytes(std::vector<int64_t>{m.rows, m.cols}),
            byte_of(1),
            byte_of(1),
            byte_of(m.format.bits == 4),
            byte_of(0),
            byte_of(0),
            byte_of(0),
            byte_of(0),
            byte_of(1),
            byte_of(1),
            text_bytes(packing.name),
            text_bytes(view_type(packing)),
            text_bytes(dtype_name(options_.compute))};
  }

  Json config(const std::vector<std::string>& skipped) const override {
    return {{"quant_method", "hqq"},
            {"quant_config",
             {{"weight_quant_params",
               {{"nbits", options_.bits},
                {"channel_wise", true},
                {"group_size", options_.group},
                {"optimize", true},
                {"round_zero", options_.bits == 4},
                {"axis", 1},
                {"view_as_float", false}}},
              {"scale_quant_params", nullptr},
              {"zero_quant_params", nullptr},
              {"offload_meta", false}}},
            {"skip_modules", skipped}};
  }

 private:
  static std::string_view view_type(const Packing& packing) {
    return packing.unit_bytes == 4 ? "torch.int32" : "torch.uint8";
  }

  /// The grouped matrix's columns: groups are its rows (axis 1) or its columns (axis 0).
  static int64_t width_of(const GroupFormat& f, int64_t count) {
    return f.span == GroupSpan::Strided ? count / f.group : f.group;
  }

  GroupModule describe(const TensorStore& store, const std::string& name) const {
    const Pieces pieces(store, name);
    GroupModule m;
    m.name = name;
    for (const char* nested : {"quant_zero", "quant_scale"}) {
      if (pieces.find(nested) != nullptr && pieces.integer(nested) != 0) {
        pieces.refuse("\"{}\" is set: quantized scales and zeros are not supported", nested);
      }
    }
    const int64_t bits = pieces.integer("nbits"), axis = pieces.integer("axis");
    const Packing* packing = packing_of(bits);
    if (packing == nullptr) pieces.refuse("nbits is {}; known are 8, 4, 3, 2 and 1", bits);
    if (axis != 0 && axis != 1) pieces.refuse("axis is {}; 0 or 1 expected", axis);
    pieces.at("shape", {EncodingId::I64}, {2});
    const std::vector<uint8_t> shape = pieces.bytes("shape");
    std::memcpy(&m.rows, shape.data(), sizeof m.rows);
    std::memcpy(&m.cols, shape.data() + sizeof m.rows, sizeof m.cols);
    int64_t count = 0;
    m.format.bits = packing->bits;
    m.format.zero = GroupZero::Float;
    m.format.span = axis == 1 ? GroupSpan::Flat : GroupSpan::Strided;
    m.format.group = pieces.integer("group_size");
    if (m.rows < 1 || m.cols < 1 || __builtin_mul_overflow(m.rows, m.cols, &count) || m.format.group < 1 ||
        count % m.format.group != 0) {
      pieces.refuse("{} x {} weights in groups of {} do not come out even", m.rows, m.cols, m.format.group);
    }
    const int64_t groups = count / m.format.group, width = width_of(m.format, count), height = count / width;
    const TensorInfo& codes =
        pieces.at("W_q", {EncodingId::U8, EncodingId::I32, EncodingId::F32, EncodingId::F16, EncodingId::BF16});
    const int64_t units = (height + packing->slabs - 1) / packing->slabs * width;
    if (static_cast<int64_t>(codes.bytes) != units * packing->unit_bytes ||
        (packing->unit_bytes == 1 && height % packing->slabs != 0)) {
      pieces.refuse("W_q has {} bytes, {} expected", codes.bytes, units * packing->unit_bytes);
    }
    const TensorInfo& scale = pieces.at("scale", kFloats);
    const TensorInfo& zero = pieces.at("zero", kFloats);
    if (scale.elements() != groups || zero.elements() != groups) {
      pieces.refuse("{} scales and {} zeros for {} groups", scale.elements(), zero.elements(), groups);
    }
    m.format.number =
        scale.encoding->block_bytes >= zero.encoding->block_bytes ? scale.encoding->id : zero.encoding->id;
    m.tensors = {pieces.name("W_q"), pieces.name("scale"), pieces.name("zero")};
    for (const std::string_view piece : kScalars) {
      if (pieces.find(piece) != nullptr) m.tensors.push_back(pieces.name(piece));
    }
    return m;
  }

  HqqOptions options_;
};

}  // namespace

std::unique_ptr<Dialect> read_hqq(const Json&, const std::string&) { return std::make_unique<Hqq>(); }

}  // namespace dialects

std::unique_ptr<Dialect> hqq_dialect(const HqqOptions& options) { return std::make_unique<dialects::Hqq>(options); }

}  // namespace lowbit
