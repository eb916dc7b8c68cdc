// AWQ: 4-bit codes with integer zero points. "gemm" files keep weights transposed, packed along the outputs in an order
// that suits its CUDA kernel; "gemv" files keep rows, packed along the inputs.
#include <algorithm>

#include "base/error.h"
#include "container/checks.h"
#include "container/dialects/pieces.h"

namespace lowbit {
namespace dialects {
namespace {

constexpr int kBits = 4;
constexpr int64_t kLanes = 8;  // codes a word
/// The output, of 8, that each lane of a gemm word holds.
constexpr int64_t kOutputOfLane[kLanes] = {0, 2, 4, 6, 1, 3, 5, 7};

class Awq final : public Dialect {
 public:
  explicit Awq(const AwqOptions& options) : group_(options.group) {}
  Awq(const Json& config, const std::string& where) {
    const auto bits = json_or<int64_t>(config, "bits", json_or<int64_t>(config, "w_bit", 4, where), where);
    if (bits != kBits) fail("{}: \"bits\" is {}; AWQ files have 4", where, bits);
    group_ = group_size(config, config.contains("q_group_size") ? "q_group_size" : "group_size", 128, where);
    const auto version =
        json_or<std::string>(config, "version", json_or<std::string>(config, "format", "gemm", where), where);
    if (version != "gemm" && version != "GEMM" && version != "gemv" && version != "GEMV") {
      fail("{}: \"version\" {} is not supported; known are gemm and gemv", where, shown(version));
    }
    rows_ = version == "gemv" || version == "GEMV";
  }

  std::string_view name() const override { return "awq"; }

  std::vector<GroupModule> modules(const TensorStore& store) const override {
    std::vector<GroupModule> out;
    for (const std::string& module : modules_with(store, "qweight")) out.push_back(describe(store, module));
    return out;
  }

  GroupMatrix read(const TensorStore& store, const GroupModule& module) const override {
    const Pieces pieces(store, module.name);
    GroupMatrix m = empty_matrix(module);
    const int64_t groups = groups_per_row(m.format, m.cols);
    const std::vector<uint32_t> codes = pieces.words("qweight"), zeros = pieces.words("qzeros");
    const std::vector<float> scales = pieces.floats("scales");
    if (rows_) {
      const int64_t zero_words = padded_zero_words(groups);
      for (int64_t r = 0; r < m.rows; ++r) {
        const uint32_t* row = codes.data() + r * (m.cols / kLanes);
        get_fields(row, m.cols, kBits, m.codes.data() + r * m.cols);
        for (int64_t g = 0; g < groups; ++g) {
          m.zeros[r * groups + g] = static_cast<float>(get_field(zeros.data() + r * zero_words, 1, g, kBits));
          m.scales[r * groups + g] = scales[r * zero_words * kLanes + g];
        }
      }
      return m;
    }
    turn_codes(codes, m);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t r = 0; r < m.rows; ++r) m.zeros[r * groups + g] = field(zeros, g * m.rows, r);
    }
    m.scales = transposed(scales, groups, m.rows);
    return m;
  }

  std::string refusal(const GroupFormat& f, int64_t rows, int64_t cols) const override {
    if (f.bits != kBits || f.levels != GroupLevels::Integer || f.zero != GroupZero::Integer ||
        f.span != GroupSpan::Row || f.number != EncodingId::F16) {
      return "AWQ files hold 4-bit integers with zero points in groups of columns, with F16 scales";
    }
    if (rows % kLanes != 0) return "rows must be a multiple of 8";
    return f.group == 0 || cols % f.group == 0 ? "" : "columns must be a multiple of the group";
  }

  std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat& f, int64_t rows,
                                    int64_t cols) const override {
    const int64_t groups = groups_per_row(f, cols);
    return {{module + ".qweight", {cols, rows / kLanes}, EncodingId::I32},
            {module + ".qzeros", {groups, rows / kLanes}, EncodingId::I32},
            {module + ".scales", {groups, rows}, EncodingId::F16}};
  }

  std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    const int64_t groups = groups_per_row(m.format, m.cols), row_words = m.rows / kLanes;
    std::vector<uint32_t> codes(static_cast<size_t>(m.cols * row_words)),
        zeros(static_cast<size_t>(groups * row_words));
    for (int64_t r = 0; r < m.rows; ++r) {
      const int shift = shift_of(r);
      for (int64_t c = 0; c < m.cols; ++c) {
        codes[c * row_words + r / kLanes] |= static_cast<uint32_t>(m.codes[r * m.cols + c]) << shift;
      }
      for (int64_t g = 0; g < groups; ++g) {
        zeros[g * row_words + r / kLanes] |= static_cast<uint32_t>(m.zero_at(r * groups + g)) << shift;
      }
    }
    return {as_bytes(codes), as_bytes(zeros), floats_as(EncodingId::F16, transposed(m.scales, m.rows, groups))};
  }

  Json config(const std::vector<std::string>& skipped) const override {
    return {{"quant_method", "awq"},
            {"bits", kBits},
            {"group_size", group_json(group_)},
            {"zero_point", true},
            {"version", "gemm"},
            {"modules_to_not_convert", skipped.empty() ? Json(nullptr) : Json(skipped)}};
  }

 private:
  static int shift_of(int64_t row) {
    const int64_t in_word = row % kLanes;
    // Even outputs in the lower four lanes, odd ones in the upper.
    return static_cast<int>(in_word % 2 * 4 + in_word / 2) * kBits;
  }
  static_assert(kOutputOfLane[4] == 1 && kOutputOfLane[1] == 2);

  static uint8_t field(const std::vector<uint32_t>& words, int64_t first, int64_t row) {
    return static_cast<uint8_t>(words[static_cast<size_t>(first / kLanes + row / kLanes)] >> shift_of(row) & 15);
  }

  /// gemm's words [cols][rows / 8] to rows of codes, in blocks that fit into a near cache: whole columns would touch a
  /// line of memory for each code.
  static void turn_codes(const std::vector<uint32_t>& words, GroupMatrix& m) {
    constexpr int64_t kWords = 16, kCols = 64;
    const int64_t row_words = m.rows / kLanes;
    uint8_t block[kWords * kLanes][kCols];
    for (int64_t first = 0; first < row_words; first += kWords) {
      const int64_t some = std::min(kWords, row_words - first);
      for (int64_t begin = 0; begin < m.cols; begin += kCols) {
        const int64_t count = std::min(kCols, m.cols - begin);
        for (int64_t w = 0; w < some; ++w) {
          for (int64_t c = 0; c < count; ++c) {
            const uint32_t word = words[static_cast<size_t>((begin + c) * row_words + first + w)];
            for (int64_t lane = 0; lane < kLanes; ++lane) {
              block[w * kLanes + kOutputOfLane[lane]][c] = static_cast<uint8_t>(word >> (kBits * lane) & 15);
            }
          }
        }
        for (int64_t r = 0; r < some * kLanes; ++r) {
          std::copy_n(block[r], count, m.codes.data() + (first * kLanes + r) * m.cols + begin);
        }
      }
    }
  }

  /// A gemv row of zero points takes a multiple of 1, 2 or 4 words, by the group's size.
  int64_t padded_zero_words(int64_t groups) const {
    const int64_t multiple = group_ == 0 || group_ >= 128 ? 1 : group_ >= 64 ? 2 : 4;
    const int64_t words = (groups + kLanes - 1) / kLanes;
    return (words + multiple - 1) / multiple * multiple;
  }

  GroupModule describe(const TensorStore& store, const std::string& name) const {
    const Pieces pieces(store, name);
    GroupModule m;
    m.name = name;
    const TensorInfo& codes = pieces.at("qweight", {EncodingId::I32});
    if (codes.shape.size() != 2 || codes.elements() == 0 || codes.elements() > (int64_t{1} << 40)) {
      pieces.refuse("qweight should be a matrix");
    }
    m.rows = rows_ ? codes.shape[0] : codes.shape[1] * kLanes;
    m.cols = rows_ ? codes.shape[1] * kLanes : codes.shape[0];
    m.format.zero = GroupZero::Integer;
    m.format.group = group_;
    if (group_ != 0 && m.cols % group_ != 0)
      pieces.refuse("{} columns are no multiple of the group of {}", m.cols, group_);
    const int64_t groups = groups_per_row(m.format, m.cols);
    const TensorInfo& scales = pieces.at("scales", {EncodingId::F16, EncodingId::BF16, EncodingId::F32});
    m.format.number = scales.encoding->id;
    if (rows_) {
      const int64_t words = padded_zero_words(groups);
      pieces.at("scales", {scales.encoding->id}, {m.rows, words * kLanes});
      pieces.at("qzeros", {EncodingId::I32}, {m.rows, words});
    } else {
      pieces.at("scales", {scales.encoding->id}, {groups, m.rows});
      pieces.at("qzeros", {EncodingId::I32}, {groups, m.rows / kLanes});
    }
    m.tensors = {pieces.name("qweight"), pieces.name("qzeros"), pieces.name("scales")};
    return m;
  }

  int64_t group_ = 128;
  bool rows_ = false;  // gemv
};

}  // namespace

std::unique_ptr<Dialect> read_awq(const Json& config, const std::string& where) {
  return std::make_unique<Awq>(config, where);
}

}  // namespace dialects

std::unique_ptr<Dialect> awq_dialect(const AwqOptions& options) { return std::make_unique<dialects::Awq>(options); }

}  // namespace lowbit
