// EETQ: 8-bit integers, one scale an output, permuted for CUTLASS's mixed-type kernels of compute capability 7.5
// to 8.9.
#include <algorithm>

#include "base/error.h"
#include "container/checks.h"
#include "container/dialects/pieces.h"

namespace lowbit {
namespace dialects {
namespace {

constexpr int64_t kTile = 64;  // values of a column that stay together; two columns interleave
/// The row, of 16, that each new row takes.
constexpr int64_t kRowOrder[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
/// Where each byte of four comes from.
constexpr int64_t kByteOrder[4] = {0, 2, 1, 3};

/// The byte of the stored buffer that holds weight (output, input) of a [outputs, inputs] matrix.
int64_t place(int64_t output, int64_t input, int64_t inputs) {
  int64_t row = 0;
  while (kRowOrder[row] != input % 16) ++row;
  row += input / 16 * 16;
  const int64_t at = output / 2 * 2 * inputs + row / kTile * 2 * kTile + output % 2 * kTile + row % kTile;
  return at / 4 * 4 + kByteOrder[at % 4];
}

class Eetq final : public Dialect {
 public:
  std::string_view name() const override { return "eetq"; }

  std::vector<GroupModule> modules(const TensorStore& store) const override {
    std::vector<GroupModule> out;
    for (const std::string& module : modules_with(store, "weight_scales")) out.push_back(describe(store, module));
    return out;
  }

  GroupMatrix read(const TensorStore& store, const GroupModule& module) const override {
    const Pieces pieces(store, module.name);
    GroupMatrix m = empty_matrix(module);
    const std::vector<uint8_t> stored = pieces.bytes(code_piece(pieces));
    const std::vector<int64_t> places = column_places(m.cols);
    for (int64_t r = 0; r < m.rows; ++r) {
      const int64_t first = r / 2 * 2 * m.cols + r % 2 * kTile;
      // Stored bytes are the codes themselves: the kernel wants q + 128.
      for (int64_t c = 0; c < m.cols; ++c) m.codes[r * m.cols + c] = stored[first + places[c]];
    }
    m.scales = pieces.floats("weight_scales");
    return m;
  }

  std::string refusal(const GroupFormat& f, int64_t rows, int64_t cols) const override {
    if (f.bits != 8 || f.levels != GroupLevels::Integer || f.zero != GroupZero::Fixed || f.span != GroupSpan::Row ||
        f.group != 0 || f.number != EncodingId::F16) {
      return "EETQ holds 8-bit integers, one F16 scale a row";
    }
    return rows % kTile == 0 && cols % kTile == 0 ? "" : "rows and columns must be multiples of 64";
  }

  std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat&, int64_t rows,
                                    int64_t cols) const override {
    return {{module + ".weight", {cols, rows}, EncodingId::I8}, {module + ".weight_scales", {rows}, EncodingId::F16}};
  }

  std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    std::vector<uint8_t> stored(m.codes.size());
    const std::vector<int64_t> places = column_places(m.cols);
    for (int64_t r = 0; r < m.rows; ++r) {
      const int64_t first = r / 2 * 2 * m.cols + r % 2 * kTile;
      for (int64_t c = 0; c < m.cols; ++c) stored[first + places[c]] = m.codes[r * m.cols + c];
    }
    return {as_bytes(stored), floats_as(EncodingId::F16, m.scales)};
  }

  Json config(const std::vector<std::string>& skipped) const override {
    return {{"quant_method", "eetq"},
            {"weights", "int8"},
            {"modules_to_not_convert", skipped.empty() ? Json(nullptr) : Json(skipped)}};
  }

 private:
  /// place() of every column of row 0; other rows are the same, moved.
  static std::vector<int64_t> column_places(int64_t cols) {
    std::vector<int64_t> out(static_cast<size_t>(cols));
    for (int64_t c = 0; c < cols; ++c) out[static_cast<size_t>(c)] = place(0, c, cols);
    return out;
  }

  /// transformers' name, or EETQ's own.
  static std::string_view code_piece(const Pieces& pieces) {
    return pieces.find("qweight") != nullptr ? "qweight" : "weight";
  }

  static GroupModule describe(const TensorStore& store, const std::string& name) {
    const Pieces pieces(store, name);
    GroupModule m;
    m.name = name;
    const std::string_view piece = code_piece(pieces);
    const TensorInfo& codes = pieces.at(piece, {EncodingId::I8});
    if (codes.shape.size() != 2 || codes.elements() == 0 || codes.shape[0] % kTile != 0 ||
        codes.shape[1] % kTile != 0) {
      pieces.refuse("{} should be a matrix whose sides are multiples of {}", piece, kTile);
    }
    m.cols = codes.shape[0];
    m.rows = codes.shape[1];
    m.format.bits = 8;
    const TensorInfo& scales =
        pieces.at("weight_scales", {EncodingId::F16, EncodingId::BF16, EncodingId::F32}, {m.rows});
    m.format.number = scales.encoding->id;
    m.tensors = {pieces.name(piece), pieces.name("weight_scales")};
    return m;
  }
};

}  // namespace

std::unique_ptr<Dialect> read_eetq(const Json& config, const std::string& where) {
  const auto weights = json_or<std::string>(config, "weights", "int8", where);
  if (weights != "int8") fail("{}: \"weights\" {} is not supported; int8 is", where, shown(weights));
  return std::make_unique<Eetq>();
}

}  // namespace dialects

std::unique_ptr<Dialect> eetq_dialect() { return std::make_unique<dialects::Eetq>(); }

}  // namespace lowbit
