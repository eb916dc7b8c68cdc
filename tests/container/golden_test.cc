// Files made by the formats' own Python libraries (tools/goldens/container.py): read right, and written again equal in
// every byte, so that what lowbit writes is what those libraries write.
#include "container_testing.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;

const std::filesystem::path kFolder = std::filesystem::path(LOWBIT_TEST_DATA) / "container";

class GoldenTest : public ContainerTest {
 protected:
  static void copy(const TensorStore& from, TensorWriter& to) {
    for (size_t i = 0; i < from.tensors().size(); ++i) to.write(i, 0, from.data(from.tensors()[i]));
    to.finish();
  }
  template <typename T>
  static std::vector<T> values(const TensorStore& store, std::string_view name) {
    const auto bytes = store.data(store.at(name));
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

TEST_F(GoldenTest, GgufPy) {
  const GgufFile file(kFolder / "gguf_py.gguf");
  const GgufMetadata& m = file.metadata();
  EXPECT_EQ(m.string_at("general.architecture"), "llama");
  EXPECT_EQ(std::get<uint8_t>(*m.find("u8")), 255);
  EXPECT_EQ(std::get<int8_t>(*m.find("i8")), -128);
  EXPECT_EQ(std::get<uint16_t>(*m.find("u16")), 65535);
  EXPECT_EQ(std::get<int16_t>(*m.find("i16")), -32768);
  EXPECT_EQ(std::get<uint32_t>(*m.find("u32")), UINT32_MAX);
  EXPECT_EQ(std::get<int32_t>(*m.find("i32")), INT32_MIN);
  EXPECT_EQ(std::get<float>(*m.find("f32")), 0.1f);
  EXPECT_EQ(std::get<bool>(*m.find("yes")), true);
  EXPECT_EQ(std::get<bool>(*m.find("no")), false);
  EXPECT_EQ(m.string_at("text"), "a\nb \xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac");
  EXPECT_EQ(std::get<uint64_t>(*m.find("u64")), UINT64_MAX);
  EXPECT_EQ(std::get<int64_t>(*m.find("i64")), INT64_MIN);
  EXPECT_EQ(std::get<double>(*m.find("f64")), 0.1);
  EXPECT_THAT(*m.ints("ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*m.floats("floats"), ElementsAre(0.5f, -1.5f));
  EXPECT_THAT(m.strings_at("texts"), ElementsAre("", "\xc4\xa0the", "\xf0\x9f\x98\x80"));
  EXPECT_THAT(std::get<std::vector<bool>>(std::get<std::shared_ptr<GgufArray>>(*m.find("bools"))->items),
              ElementsAre(true, false, true));
  const auto nested =
      std::get<std::vector<std::shared_ptr<GgufArray>>>(std::get<std::shared_ptr<GgufArray>>(*m.find("nested"))->items);
  ASSERT_EQ(nested.size(), 2u);
  EXPECT_THAT(std::get<std::vector<int32_t>>(nested[0]->items), ElementsAre(1, 2));
  EXPECT_THAT(std::get<std::vector<int32_t>>(nested[1]->items), ElementsAre(3));

  EXPECT_THAT(file.at("matrix.weight").shape, ElementsAre(2, 3));
  EXPECT_THAT(values<float>(file, "matrix.weight"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(file.at("half.weight").shape, ElementsAre(2, 2, 2));
  EXPECT_THAT(values<float>(file, "vector.bias"), ElementsAre(1.5f, -2.5f));
  EXPECT_THAT(values<int8_t>(file, "raw.0"), ElementsAre(-3, 4));
  EXPECT_THAT(values<int16_t>(file, "raw.1"), ElementsAre(-3, 4));
  EXPECT_THAT(values<int32_t>(file, "raw.2"), ElementsAre(-3, 4));
  EXPECT_THAT(values<int64_t>(file, "raw.3"), ElementsAre(-3, 4));
  EXPECT_THAT(values<double>(file, "raw.4"), ElementsAre(-3, 4));
  std::vector<float> half(8), quantized(64);
  read_rows(file, file.at("half.weight"), 0, 4, half.data());
  EXPECT_THAT(half, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(file.at("quantized.weight").shape, ElementsAre(1, 64));
  read_rows(file, file.at("quantized.weight"), 0, 1, quantized.data());
  for (int i = 0; i < 64; ++i)
    EXPECT_NEAR(quantized[static_cast<size_t>(i)], -1 + 2.0f * static_cast<float>(i) / 63, 0.005f);

  GgufWriter writer(path("again.gguf"), m, file.tensors());
  copy(file, writer);
  EXPECT_EQ(get("again.gguf"), read_text_file(kFolder / "gguf_py.gguf"));
}

TEST_F(GoldenTest, SafetensorsLibrary) {
  const Safetensors file(kFolder / "library.safetensors");
  EXPECT_THAT(values<double>(file, "a.f64"), ElementsAre(0.1));
  EXPECT_THAT(file.at("b.f32").shape, ElementsAre(2, 3));
  EXPECT_THAT(values<float>(file, "b.f32"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_TRUE(file.at("c.f32").shape.empty());
  EXPECT_THAT(values<float>(file, "c.f32"), ElementsAre(7));
  std::vector<float> half(3);
  read_rows(file, file.at("d.f16"), 0, 1, half.data());
  EXPECT_THAT(half, ElementsAre(0, 1, 2));
  EXPECT_THAT(values<uint8_t>(file, "\xc3\xa9.u8"), ElementsAre(1, 2, 3));

  SafetensorsWriter writer(folder_, file.tensors());
  copy(file, writer);
  EXPECT_EQ(get("model.safetensors"), read_text_file(kFolder / "library.safetensors"));
}

}  // namespace
}  // namespace lowbit
