#include "container/gguf.h"

#include <chrono>
#include <limits>

#include "container/gguf_parse.h"
#include "container_testing.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
std::shared_ptr<GgufArray> array_of(std::vector<T> items) {
  auto array = std::make_shared<GgufArray>();
  array->items = std::move(items);
  return array;
}

/// One key of each type, and one array of each.
GgufMetadata every_type() {
  GgufMetadata m;
  m.set("general.architecture", std::string("llama"));
  m.set("u8", uint8_t{255});
  m.set("i8", int8_t{-128});
  m.set("u16", uint16_t{65535});
  m.set("i16", int16_t{-32768});
  m.set("u32", uint32_t{4294967295u});
  m.set("i32", std::numeric_limits<int32_t>::min());
  m.set("f32", 1.5f);
  m.set("bool", true);
  m.set("empty", std::string());
  m.set("text", std::string("a\nb\0c \xc3\xa9", 8));
  m.set("u64", std::numeric_limits<uint64_t>::max());
  m.set("i64", std::numeric_limits<int64_t>::min());
  m.set("f64", -0.1);
  m.set("a.u8", array_of<uint8_t>({1, 2}));
  m.set("a.i8", array_of<int8_t>({-1, 2}));
  m.set("a.u16", array_of<uint16_t>({1, 2}));
  m.set("a.i16", array_of<int16_t>({-1, 2}));
  m.set("a.u32", array_of<uint32_t>({1, 2}));
  m.set("a.i32", array_of<int32_t>({-1, 2}));
  m.set("a.f32", array_of<float>({0.25f, -2}));
  m.set("a.bool", array_of<bool>({true, false, true}));
  m.set("a.text", array_of<std::string>({"", "x", "\xff raw"}));
  m.set("a.u64", array_of<uint64_t>({1, 2}));
  m.set("a.i64", array_of<int64_t>({-1, 2}));
  m.set("a.f64", array_of<double>({1e300, 2}));
  m.set("a.none", array_of<std::string>({}));
  m.set("a.a", array_of<std::shared_ptr<GgufArray>>({array_of<int32_t>({1}), array_of<std::string>({"deep"})}));
  return m;
}

bool equal(const GgufValue& a, const GgufValue& b);
bool equal(const GgufArray& a, const GgufArray& b) {
  if (a.items.index() != b.items.index()) return false;
  using Nested = std::vector<std::shared_ptr<GgufArray>>;
  if (!std::holds_alternative<Nested>(a.items)) return a.items == b.items;
  return std::equal(std::get<Nested>(a.items).begin(), std::get<Nested>(a.items).end(),
                    std::get<Nested>(b.items).begin(), std::get<Nested>(b.items).end(),
                    [](const auto& x, const auto& y) { return equal(*x, *y); });
}
bool equal(const GgufValue& a, const GgufValue& b) {
  const auto* x = std::get_if<std::shared_ptr<GgufArray>>(&a);
  const auto* y = std::get_if<std::shared_ptr<GgufArray>>(&b);
  return x != nullptr && y != nullptr ? equal(**x, **y) : a == b;
}

const std::vector<TensorInfo>& planned() {
  static const std::vector<TensorInfo> plan = {
      tensor_of("token_embd.weight", {5, 32}, EncodingId::F16), tensor_of("norm.weight", {7}, EncodingId::F32),
      tensor_of("blk.0.ffn.weight", {2, 3, 64}, EncodingId::Q8_0), tensor_of("ids", {3}, EncodingId::I64)};
  return plan;
}

class GgufTest : public ContainerTest {
 protected:
  void write(const std::string& name, const GgufMetadata& metadata, const std::vector<TensorInfo>& plan) const {
    GgufWriter writer(path(name), metadata, plan);
    for (size_t i = plan.size(); i-- > 0;) {  // backwards and in two pieces: neither may matter
      const auto bytes = noise(plan[i].bytes, static_cast<unsigned>(i));
      const size_t half = bytes.size() / 2;
      writer.write(i, half, std::span(bytes).subspan(half));
      writer.write(i, 0, std::span(bytes).first(half));
    }
    writer.finish();
    EXPECT_EQ(std::filesystem::file_size(path(name)), writer.file_bytes());
  }
};

TEST_F(GgufTest, RoundTripOfEveryTypeAndTensor) {
  write("x.gguf", every_type(), planned());
  const GgufFile file(path("x.gguf"));
  const GgufMetadata metadata = every_type();
  const auto& written = metadata.entries();
  const auto& read = file.metadata().entries();
  ASSERT_EQ(read.size(), written.size());
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].first, written[i].first);
    EXPECT_TRUE(equal(read[i].second, written[i].second)) << read[i].first;
  }
  ASSERT_EQ(file.tensors().size(), planned().size());
  for (size_t i = 0; i < planned().size(); ++i) {
    const TensorInfo& tensor = file.tensors()[i];
    EXPECT_EQ(tensor.name, planned()[i].name);
    EXPECT_EQ(tensor.shape, planned()[i].shape);
    EXPECT_EQ(tensor.encoding, planned()[i].encoding);
    EXPECT_EQ(tensor.bytes, planned()[i].bytes);
    EXPECT_EQ(all_bytes(file, tensor), noise(tensor.bytes, static_cast<unsigned>(i)));
    std::vector<std::byte> middle(tensor.bytes / 2);
    file.read(tensor, tensor.bytes / 4, middle);
    EXPECT_TRUE(
        std::equal(middle.begin(), middle.end(), file.data(tensor).begin() + static_cast<ptrdiff_t>(tensor.bytes / 4)));
    file.drop(tensor);
    EXPECT_EQ(all_bytes(file, tensor), noise(tensor.bytes, static_cast<unsigned>(i)));
  }
}

TEST_F(GgufTest, SameInputSameBytes) {
  write("a.gguf", every_type(), planned());
  write("b.gguf", every_type(), planned());
  EXPECT_EQ(get("a.gguf"), get("b.gguf"));
}

TEST_F(GgufTest, AlignmentOfTheMetadataIsKept) {
  GgufMetadata metadata;
  metadata.set("general.alignment", uint32_t{128});
  write("x.gguf", metadata, planned());
  const std::string bytes = get("x.gguf");
  const GgufContents contents = parse_gguf(std::as_bytes(std::span(bytes)), "x.gguf");
  for (const GgufTensor& tensor : contents.tensors) EXPECT_EQ(tensor.offset % 128, 0u);
  EXPECT_EQ(all_bytes(GgufFile(path("x.gguf")), planned()[2]), noise(planned()[2].bytes, 2));
  metadata.set("general.alignment", uint32_t{12});
  EXPECT_THAT(error_of([&] { GgufWriter(path("y.gguf"), metadata, planned()); }), HasSubstr("general.alignment"));
}

TEST_F(GgufTest, TypedLookUps) {
  GgufMetadata m = every_type();
  m.where = "m.gguf";
  EXPECT_EQ(m.int_at("u8"), 255);
  EXPECT_EQ(m.int_at("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(m.float_at("f32"), 1.5);
  EXPECT_EQ(m.float_at("u16"), 65535.0);
  EXPECT_EQ(m.string_at("general.architecture"), "llama");
  EXPECT_TRUE(m.bool_or("bool", false));
  EXPECT_TRUE(m.bool_or("absent", true));
  EXPECT_EQ(m.int_or("absent", 7), 7);
  EXPECT_EQ(m.float_or("absent", 7.5), 7.5);
  EXPECT_EQ(m.string_or("absent", "x"), "x");
  EXPECT_THAT(*m.ints("a.i16"), ElementsAre(-1, 2));
  EXPECT_THAT(*m.floats("a.f32"), ElementsAre(0.25f, -2));
  EXPECT_EQ(m.ints("absent"), std::nullopt);
  EXPECT_EQ(m.strings_at("a.text").size(), 3u);
  for (const auto& message : {error_of([&] { m.int_at("u64"); }), error_of([&] { m.int_at("f32"); }),
                              error_of([&] { m.int_at("bool"); }), error_of([&] { m.string_at("u8"); }),
                              error_of([&] { m.bool_or("u8", true); }), error_of([&] { m.floats("a.f64"); }),
                              error_of([&] { m.ints("a.bool"); }), error_of([&] { m.strings_at("u8"); })}) {
    EXPECT_THAT(message, AllOf(HasSubstr("m.gguf"), HasSubstr("should be")));
  }
  EXPECT_THAT(error_of([&] { m.int_at("absent"); }),
              AllOf(HasSubstr("m.gguf"), HasSubstr("absent"), HasSubstr("missing")));
  m.erase("u8");
  EXPECT_EQ(m.find("u8"), nullptr);
  EXPECT_EQ(m.int_at("i8"), -128);
  m.set("i8", uint64_t{9});
  EXPECT_EQ(m.int_at("i8"), 9);
  EXPECT_EQ(m.entries().size(), every_type().entries().size() - 1);
}

TEST_F(GgufTest, AMillionStringsLoadFast) {
  GgufMetadata metadata;
  std::vector<std::string> tokens(1'000'000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = fmt::format("token {}", i);
  metadata.set("tokenizer.ggml.tokens", array_of(tokens));
  write("x.gguf", metadata, {});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(GgufFile(path("x.gguf")).metadata().strings_at("tokenizer.ggml.tokens"), tokens);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));  // measured: 0.1 s; quadratic: hours
}

TEST_F(GgufTest, SplitsReadAsOneModel) {
  const std::vector<TensorInfo> first = {planned()[0], planned()[1]}, second = {planned()[2]}, third = {planned()[3]};
  GgufMetadata metadata;
  metadata.set("general.architecture", std::string("llama"));
  const auto split = [&](uint16_t no, const std::vector<TensorInfo>& plan) {
    GgufMetadata m = no == 0 ? metadata : GgufMetadata();
    m.set("split.no", no);
    m.set("split.count", uint16_t{3});
    m.set("split.tensors.count", int32_t{4});
    write(fmt::format("m-{:05}-of-00003.gguf", no + 1), m, plan);
  };
  split(0, first);
  EXPECT_THAT(error_of([&] { GgufFile(path("m-00001-of-00003.gguf")); }),
              AllOf(HasSubstr("m-00002-of-00003.gguf"), HasSubstr("missing")));
  split(1, second);
  split(2, third);
  const GgufFile file(path("m-00001-of-00003.gguf"));
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(all_bytes(file, file.at("ids")), noise(planned()[3].bytes, 0));
  EXPECT_EQ(all_bytes(file, file.at("norm.weight")), noise(planned()[1].bytes, 1));
  EXPECT_EQ(file.metadata().entries().size(), 1u);

  EXPECT_THAT(error_of([&] { GgufFile(path("m-00002-of-00003.gguf")); }), HasSubstr("give the first one"));
  std::filesystem::copy(path("m-00001-of-00003.gguf"), path("renamed.gguf"));
  EXPECT_THAT(error_of([&] { GgufFile(path("renamed.gguf")); }), HasSubstr("name"));
  std::filesystem::copy(path("m-00003-of-00003.gguf"), path("m-00002-of-00003.gguf"),
                        std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error_of([&] { GgufFile(path("m-00001-of-00003.gguf")); }), HasSubstr("mixed up"));
}

TEST_F(GgufTest, WhatStockReadersRefuseIsNotWritten) {
  const auto refusal = [&](const TensorInfo& tensor) {
    const std::string message = error_of([&] { GgufWriter(path("x.gguf"), {}, {tensor}); });
    EXPECT_TRUE(std::filesystem::is_empty(folder_)) << "a refused file leaves nothing behind";
    return message;
  };
  EXPECT_THAT(refusal(tensor_of(std::string(64, 'x'), {2}, EncodingId::F32)), HasSubstr("64 bytes"));
  EXPECT_THAT(refusal(tensor_of("x", {1, 1, 1, 1, 2}, EncodingId::F32)), HasSubstr("5 dimensions"));
  EXPECT_THAT(refusal(tensor_of("x", {2}, EncodingId::U8)), HasSubstr("U8"));
  EXPECT_THAT(refusal(tensor_of("x", {48}, EncodingId::Q8_0)), HasSubstr("block"));
  EXPECT_THAT(refusal(tensor_of("a\nb", {2}, EncodingId::F32)), HasSubstr("a\\x0ab"));
  EXPECT_THAT(error_of([&] { GgufWriter(path("x.gguf"), {}, {planned()[0], planned()[0]}); }), HasSubstr("twice"));
}

TEST_F(GgufTest, AFileWithAHoleIsNotFinished) {
  {
    GgufWriter writer(path("x.gguf"), {}, planned());
    writer.write(1, 0, noise(planned()[1].bytes, 1));
    EXPECT_NE(error_of([&] { writer.finish(); }), "");
    EXPECT_THAT(error_of([&] { writer.write(1, 4, noise(planned()[1].bytes, 1)); }), HasSubstr("norm.weight"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(GgufTest, RowsDecode) {
  const std::vector<TensorInfo> plan = {tensor_of("a", {4, 3}, EncodingId::F32), tensor_of("b", {4}, EncodingId::I32)};
  std::vector<float> values(12);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  GgufWriter writer(path("x.gguf"), {}, plan);
  writer.write(0, 0, std::as_bytes(std::span(values)));
  writer.write(1, 0, noise(16, 0));
  writer.finish();
  const GgufFile file(path("x.gguf"));
  std::vector<float> rows(6);
  read_rows(file, file.at("a"), 1, 2, rows.data());
  EXPECT_THAT(rows, ElementsAre(3, 4, 5, 6, 7, 8));
  EXPECT_THAT(error_of([&] { read_rows(file, file.at("a"), 3, 2, rows.data()); }), HasSubstr("4 rows"));
  EXPECT_THAT(error_of([&] { read_rows(file, file.at("b"), 0, 1, rows.data()); }), HasSubstr("I32"));
  EXPECT_THAT(error_of([&] { file.at("c"); }), AllOf(HasSubstr("x.gguf"), HasSubstr("tensor c is missing")));
}

}  // namespace
}  // namespace lowbit
