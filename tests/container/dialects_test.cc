#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <numeric>
#include <random>

#include "base/error.h"
#include "container/dialects/dialect.h"
#include "container/dialects/pieces.h"
#include "container/quantized_store.h"

namespace lowbit {
namespace {

class PieceStore : public TensorStore {
 public:
  PieceStore() { where_ = "model"; }
  void put(const std::string& name, std::vector<int64_t> shape, EncodingId type, std::vector<std::byte> bytes) {
    TensorInfo info;
    info.name = name;
    info.shape = std::move(shape);
    info.encoding = &encoding(type);
    info.bytes = bytes.size();
    ASSERT_EQ(info.encoding->bytes(static_cast<uint64_t>(info.elements())), bytes.size()) << name;
    bytes_[name] = std::move(bytes);
    add(std::move(info));
  }
  std::span<const std::byte> data(const TensorInfo& t) const override { return bytes_.at(t.name); }
  void read(const TensorInfo& t, uint64_t offset, std::span<std::byte> out) const override {
    std::copy_n(bytes_.at(t.name).begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
  }
  void drop(const TensorInfo&) const override {}
  std::map<std::string, std::vector<std::byte>> bytes_;
};

struct Case {
  std::string name;
  std::function<std::unique_ptr<Dialect>()> dialect;
  GroupFormat format;
  bool ordered = false;
  float input_scale = 0;
};

GroupFormat rows(int bits, int64_t group, GroupZero zero, EncodingId number = EncodingId::F16, int lowest = 0) {
  return {bits, GroupLevels::Integer, zero, GroupSpan::Row, group, number, lowest};
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool second : {false, true}) {
      const auto make = [bits, second] {
        GptqOptions o;
        o.bits = bits;
        o.group = 32;
        o.symmetric = false;
        o.second_version = second;
        return gptq_dialect(o);
      };
      const std::string name = fmt::format("gptq_{}bit{}", bits, second ? "_v2" : "");
      out.push_back({name, make, rows(bits, 32, GroupZero::Integer, EncodingId::F16, second ? 0 : 1)});
      out.push_back({name + "_sym", make, rows(bits, 32, GroupZero::Fixed)});
      out.push_back({name + "_order", make, rows(bits, 32, GroupZero::Integer, EncodingId::F16, second ? 0 : 1), true});
    }
  }
  const auto gptq80 = [] {
    GptqOptions o;
    o.group = 80;
    return gptq_dialect(o);
  };
  out.push_back({"gptq_short_group", gptq80, rows(4, 80, GroupZero::Fixed)});
  out.push_back({"awq", [] { return awq_dialect({32}); }, rows(4, 32, GroupZero::Integer)});
  for (const bool doubly : {false, true}) {
    for (const GroupLevels levels : {GroupLevels::NF4, GroupLevels::FP4}) {
      out.push_back({fmt::format("bnb_{}{}", levels == GroupLevels::NF4 ? "nf4" : "fp4", doubly ? "_dq" : ""),
                     [=] {
                       return bitsandbytes_dialect({levels, doubly, EncodingId::BF16});
                     },
                     {4, levels, GroupZero::Fixed, GroupSpan::Flat, 64, EncodingId::F32, 0, doubly}});
    }
  }
  out.push_back({"bnb_int8",
                 [] {
                   return bitsandbytes_dialect({GroupLevels::Integer, false, EncodingId::BF16});
                 },
                 rows(8, 0, GroupZero::Fixed, EncodingId::F32)});
  for (const int bits : {1, 2, 3, 4, 8}) {
    out.push_back({fmt::format("hqq_{}bit", bits),
                   [=] {
                     return hqq_dialect({bits, 32, EncodingId::F16});
                   },
                   {bits, GroupLevels::Integer, GroupZero::Float, GroupSpan::Flat, 32, EncodingId::F16}});
  }
  out.push_back({"hqq_rows_end_within_groups",
                 [] {
                   return hqq_dialect({4, 128, EncodingId::F16});
                 },
                 {4, GroupLevels::Integer, GroupZero::Float, GroupSpan::Flat, 128, EncodingId::F16}});
  out.push_back({"eetq", eetq_dialect, rows(8, 0, GroupZero::Fixed)});
  const auto compressed = [](int bits, bool symmetric, bool packed, int64_t group) {
    return [=] {
      CompressedTensorsOptions o;
      o.bits = bits;
      o.group = group;
      o.symmetric = symmetric;
      o.packed = packed;
      return compressed_tensors_dialect(o);
    };
  };
  for (const int bits : {2, 4, 8}) {
    out.push_back({fmt::format("ct_pack_{}bit", bits), compressed(bits, true, true, 32),
                   rows(bits, 32, GroupZero::Fixed, EncodingId::BF16)});
    out.push_back({fmt::format("ct_pack_{}bit_asym", bits), compressed(bits, false, true, 32),
                   rows(bits, 32, GroupZero::Integer, EncodingId::BF16)});
  }
  out.push_back({"ct_int8", compressed(8, true, false, 0), rows(8, 0, GroupZero::Fixed, EncodingId::BF16)});
  out.push_back({"ct_int8_asym", compressed(8, false, false, 0), rows(8, 0, GroupZero::Integer, EncodingId::F32)});
  const auto fixed = [] {
    CompressedTensorsOptions o;
    o.bits = 8;
    o.group = 0;
    o.packed = false;
    o.activations = CompressedTensorsOptions::Activations::PerTensor;
    return compressed_tensors_dialect(o);
  };
  out.push_back({"ct_int8_static", fixed, rows(8, 0, GroupZero::Fixed, EncodingId::BF16), false, 0.03125F});
  return out;
}

constexpr int64_t kRows = 64, kCols = 192;

GroupMatrix random_matrix(const GroupFormat& format, bool ordered, int64_t rows = kRows, int64_t cols = kCols) {
  GroupMatrix m;
  m.format = format;
  m.rows = rows;
  m.cols = cols;
  m.resize();
  std::mt19937 random(11);
  for (uint8_t& code : m.codes) code = static_cast<uint8_t>(random() % static_cast<unsigned>(format.codes()));
  std::vector<float> scales(m.scales.size());
  for (float& s : scales) s = 0.01F + 1e-3F * static_cast<float>(random() % 100);
  m.set_scales(scales);
  for (float& z : m.zeros) z = snap_zero(format, static_cast<float>(random() % 300) / 3);
  if (ordered) {
    for (int64_t c = 0; c < kCols; ++c) m.group_of_column.push_back(static_cast<int32_t>(c / format.group));
    std::shuffle(m.group_of_column.begin(), m.group_of_column.end(), random);
  }
  return m;
}

std::unique_ptr<PieceStore> packed(const Dialect& dialect, const GroupMatrix& m, const std::string& without = "") {
  auto store = std::make_unique<PieceStore>();
  const auto tensors = dialect.tensors("m.q_proj", m.format, m.rows, m.cols);
  const auto bytes = dialect.pack(m);
  EXPECT_EQ(tensors.size(), bytes.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name != without) store->put(tensors[i].name, tensors[i].shape, tensors[i].type, bytes[i]);
  }
  return store;
}

class EachDialect : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Dialects, EachDialect, testing::ValuesIn(cases()),
                         [](const auto& row) { return row.param.name; });

TEST_P(EachDialect, ReadsWhatItPacks) {
  const auto dialect = GetParam().dialect();
  GroupMatrix m = random_matrix(GetParam().format, GetParam().ordered);
  m.input_scale = GetParam().input_scale;
  ASSERT_EQ(dialect->refusal(m.format, m.rows, m.cols), "");
  const auto read_by = dialect_of(dialect->config({"lm_head"}), "config.json");
  EXPECT_EQ(read_by->name(), dialect->name());
  const auto store = packed(*dialect, m);
  const auto modules = read_by->modules(*store);
  ASSERT_EQ(modules.size(), 1U);
  EXPECT_EQ(modules[0].tensors.size(), store->tensors().size());
  const GroupMatrix back = read_by->read(*store, modules[0]);
  EXPECT_EQ(back.codes, m.codes);
  EXPECT_EQ(back.group_of_column, m.group_of_column);
  EXPECT_EQ(back.input_scale, m.input_scale);
  EXPECT_EQ(modules[0].inputs.scale, m.input_scale);
  std::vector<float> expected(static_cast<size_t>(kRows * kCols)), got(expected.size());
  decode(m, expected.data());
  decode(back, got.data());
  // LLM.int8 stores 127 scales: one rounding more.
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-6F * std::fabs(expected[i])) << i;
}

TEST_P(EachDialect, ShowsItsMatrixInAnEncodingWithKernels) {
  const auto dialect = GetParam().dialect();
  GroupMatrix m = random_matrix(GetParam().format, GetParam().ordered);
  m.input_scale = GetParam().input_scale;
  const QuantizedStore store(packed(*dialect, m), dialect_of(dialect->config({"lm_head"}), "config.json"));
  ASSERT_EQ(store.tensors().size(), 1U);
  const TensorInfo& info = store.at("m.q_proj.weight");
  EXPECT_THAT(info.shape, testing::ElementsAre(kRows, kCols));
  std::vector<float> expected(static_cast<size_t>(kRows * kCols)), got(expected.size());
  decode(m, expected.data());
  read_rows(store, info, 0, kRows, got.data());
  float most = 0, worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    most = std::max(most, std::fabs(expected[i]));
    worst = std::max(worst, std::fabs(expected[i] - got[i]));
  }
  const GroupFormat& f = m.format;
  const bool exact = f.levels == GroupLevels::Integer && f.zero != GroupZero::Float && f.number != EncodingId::F32;
  EXPECT_LE(worst, exact ? 0 : f.levels == GroupLevels::NF4 ? 0.005F * most : 6e-4F * most);
  const int64_t group = info.stored->group;
  EXPECT_EQ(group == 0, GetParam().ordered);
  for (int64_t i = 0; group > 0 && i < kRows * kCols; ++i) {
    const int64_t r = i / kCols, c = i % kCols;
    ASSERT_EQ(m.group_index(r, c), m.group_index(r, c - c % group)) << r << " " << c;
  }
  const auto data = store.data(info);
  EXPECT_EQ(data.size(), info.bytes);
  store.drop(info);
  const std::vector<const TensorInfo*> all = {&info};
  ThreadPool pool(2);
  store.prepare(all, pool);
  EXPECT_EQ(store.data(info).size(), info.bytes);
}

/// Of more than one block of rows and of columns, and of blocks that are not full.
TEST(TurnedCodes, OfAnyNumberOfRowsAndColumnsAreRead) {
  const GroupFormat format{4, GroupLevels::Integer, GroupZero::Integer, GroupSpan::Row, 32, EncodingId::F16, 1};
  for (const auto& [rows, cols] : {std::pair{160, 224}, {320, 96}, {32, 416}}) {
    for (const bool awq : {false, true}) {
      const GroupMatrix m = random_matrix(format, false, rows, cols);
      GptqOptions gptq;
      gptq.group = 32;
      const auto dialect = awq ? awq_dialect({32}) : gptq_dialect(gptq);
      const auto store = packed(*dialect, m);
      EXPECT_EQ(dialect->read(*store, dialect->modules(*store).at(0)).codes, m.codes) << rows << " x " << cols;
    }
  }
}

TEST(Fields, AreReadAloneAsTogether) {
  std::mt19937 random(3);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int64_t count : {1, 31, 32, 33, 100}) {
      std::vector<uint32_t> words(static_cast<size_t>(dialects::words_for(count, bits)));
      for (uint32_t& word : words) word = static_cast<uint32_t>(random());
      std::vector<uint8_t> fields(static_cast<size_t>(count));
      dialects::get_fields(words.data(), count, bits, fields.data());
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(fields[static_cast<size_t>(i)], dialects::get_field(words.data(), 1, i, bits)) << bits << " " << i;
      }
    }
  }
}

TEST_P(EachDialect, NamesThePieceThatIsMissingOrHasAnotherShape) {
  const auto dialect = GetParam().dialect();
  GroupMatrix m = random_matrix(GetParam().format, GetParam().ordered);
  m.input_scale = GetParam().input_scale;
  const auto read_by = dialect_of(dialect->config({"lm_head"}), "config.json");
  const auto tensors = dialect->tensors("m.q_proj", m.format, m.rows, m.cols);
  const auto bytes = dialect->pack(m);
  for (const ModuleTensor& changed : tensors) {
    PieceStore store;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].name == changed.name) {
        // Half as long (or, of a scalar, none), as if the rest had been lost.
        const int64_t half = static_cast<int64_t>(bytes[i].size()) / encoding(tensors[i].type).block_bytes / 2;
        std::vector<std::byte> less = bytes[i];
        less.resize(static_cast<size_t>(half * encoding(tensors[i].type).block_bytes));
        store.put(tensors[i].name, {half}, tensors[i].type, less);
      } else {
        store.put(tensors[i].name, tensors[i].shape, tensors[i].type, bytes[i]);
      }
    }
    try {
      for (const GroupModule& module : read_by->modules(store)) read_by->read(store, module);
      // HQQ's flags and names are told twice: some need not be there.
      EXPECT_EQ(dialect->name(), "hqq") << changed.name;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("q_proj")) << changed.name;
    }
  }
}

TEST(Dialect, GemvFilesAreRead) {
  // Codes in natural order along the inputs; a row of zero points is padded to 4 words for groups of 32.
  PieceStore store;
  std::vector<uint32_t> codes, zeros;
  std::vector<float> scales;
  for (uint32_t r = 0; r < 8; ++r) {
    for (uint32_t w = 0; w < 8; ++w) codes.push_back(0x76543210U + r);
    for (uint32_t w = 0; w < 4; ++w) zeros.push_back(w == 0 ? 0x65U : 0);
    for (uint32_t g = 0; g < 32; ++g) scales.push_back(g < 2 ? static_cast<float>(g + 1) : 0);
  }
  const auto raw = [](const auto& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  store.put("p.qweight", {8, 8}, EncodingId::I32, raw(codes));
  store.put("p.qzeros", {8, 4}, EncodingId::I32, raw(zeros));
  store.put("p.scales", {8, 32}, EncodingId::F32, raw(scales));
  const auto dialect = dialect_of({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 32}, {"version", "gemv"}}, "c");
  const auto modules = dialect->modules(store);
  ASSERT_EQ(modules.size(), 1U);
  const GroupMatrix m = dialect->read(store, modules[0]);
  std::vector<float> out(8 * 64);
  decode(m, out.data());
  EXPECT_EQ(out[1], 1.0F * (1 - 5));
  EXPECT_EQ(out[32 + 7], 2.0F * (7 - 6));
  EXPECT_EQ(out[64 + 0], 1.0F * (1 - 5));
}

TEST(Dialect, RefusesWhatItDoesNotKnowInOneLine) {
  const std::pair<Json, std::string> bad[] = {
      {Json::array(), "should be an object"},
      {{{"quant_method", "aqlm"}}, "aqlm is not supported; known are gptq"},
      {Json::object(), "(none)"},
      {{{"quant_method", "gptq"}, {"bits", 5}}, "\"bits\" is 5"},
      {{{"quant_method", "gptq"}}, "bits"},
      {{{"quant_method", "gptq"}, {"bits", 4}, {"group_size", -7}}, "group_size"},
      {{{"quant_method", "gptq"}, {"bits", 4}, {"checkpoint_format", "marlin"}}, "marlin"},
      {{{"quant_method", "awq"}, {"bits", 8}}, "bits"},
      {{{"quant_method", "awq"}, {"version", "gemv_fast"}}, "gemv_fast"},
      {{{"quant_method", "eetq"}, {"weights", "int4"}}, "int4"},
      {{{"quant_method", "compressed-tensors"}, {"format", "float-quantized"}}, "float-quantized"},
      {{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}, {"config_groups", 3}}, "config_groups"},
  };
  for (const auto& [config, says] : bad) {
    try {
      dialect_of(config, "config.json");
      ADD_FAILURE() << config;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(says));
      EXPECT_THAT(e.what(), testing::StartsWith("config.json"));
    }
  }
}

TEST(Dialect, RefusesGroupsThatAreNotThereAndScalesThatAreNotFinite) {
  GptqOptions options;
  options.group = 32;
  const auto dialect = gptq_dialect(options);
  const GroupMatrix m = random_matrix(rows(4, 32, GroupZero::Integer, EncodingId::F16, 1), true);
  for (const int32_t group : {-1, 6, 1 << 30}) {
    const auto store = packed(*dialect, m);
    std::memcpy(store->bytes_["m.q_proj.g_idx"].data() + 4 * 17, &group, sizeof group);
    EXPECT_THROW(dialect->modules(*store), Error) << group;
  }
  auto store = packed(*dialect, m);
  const uint16_t infinity = 0x7c00;
  std::memcpy(store->bytes_["m.q_proj.scales"].data() + 20, &infinity, sizeof infinity);
  const auto modules = dialect->modules(*store);
  EXPECT_THROW(dialect->read(*store, modules.at(0)), Error);
  const QuantizedStore quantized(std::move(store), gptq_dialect(options));
  const TensorInfo& tensor = quantized.at("m.q_proj.weight");
  for (int time = 0; time < 2; ++time) EXPECT_THROW(quantized.data(tensor), Error) << time;
}

TEST(Dialect, RoundingOfInputsIsAsTheConfigAsks) {
  using Scales = InputRounding::Scales;
  const GroupMatrix m = random_matrix(rows(8, 0, GroupZero::Fixed, EncodingId::F32), false);
  const auto inputs = [&](const Dialect& dialect, const Json& config) {
    const auto store = packed(dialect, m);
    return dialect_of(config, "config.json")->modules(*store).at(0).inputs;
  };
  const auto int8 = bitsandbytes_dialect({GroupLevels::Integer, false, EncodingId::BF16});
  Json config = int8->config({"lm_head"});
  EXPECT_EQ(inputs(*int8, config), (InputRounding{Scales::Token, 0, 6}));
  config["llm_int8_threshold"] = 0.0;
  EXPECT_EQ(inputs(*int8, config), (InputRounding{Scales::Token, 0, 0}));
  config["llm_int8_threshold"] = -1.0;
  EXPECT_THROW(inputs(*int8, config), Error);

  CompressedTensorsOptions options;
  options.bits = 8;
  options.group = 0;
  options.packed = false;
  options.scale = EncodingId::F32;
  EXPECT_EQ(inputs(*compressed_tensors_dialect(options), compressed_tensors_dialect(options)->config({})),
            InputRounding{});
  options.activations = CompressedTensorsOptions::Activations::PerToken;
  EXPECT_EQ(inputs(*compressed_tensors_dialect(options), compressed_tensors_dialect(options)->config({})),
            (InputRounding{Scales::Token, 0, 0}));
  options.activations = CompressedTensorsOptions::Activations::PerTensor;
  const Json fixed = compressed_tensors_dialect(options)->config({});
  EXPECT_EQ(fixed["config_groups"]["group_0"]["input_activations"]["dynamic"], false);
  // A scale of 0 (here: none was set), and none at all.
  EXPECT_THROW(inputs(*compressed_tensors_dialect(options), fixed), Error);
  const auto without = packed(*compressed_tensors_dialect(options), m, "m.q_proj.input_scale");
  EXPECT_THROW(dialect_of(fixed, "config.json")->modules(*without), Error);
}

TEST(Dialect, TellsWhyItCannotHoldAMatrix) {
  EXPECT_NE(awq_dialect({128})->refusal(rows(4, 128, GroupZero::Integer), 64, 576), "");
  EXPECT_NE(awq_dialect({128})->refusal(rows(4, 128, GroupZero::Fixed), 64, 512), "");
  EXPECT_NE(gptq_dialect({})->refusal(rows(4, 128, GroupZero::Fixed), 33, 512), "");
  EXPECT_NE(eetq_dialect()->refusal(rows(8, 0, GroupZero::Fixed), 32, 512), "");
  EXPECT_NE(hqq_dialect({})->refusal(rows(4, 64, GroupZero::Float), 32, 512), "");
}

}  // namespace
}  // namespace lowbit
