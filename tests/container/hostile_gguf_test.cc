// GGUF files made to do harm: each must end in an Error of one line, or in a store whose tensors lie inside the file.
#include <chrono>
#include <functional>

#include "container/gguf_parse.h"
#include "container_testing.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint32_t kF32 = 0, kTypeU32 = 4, kTypeBool = 7, kTypeString = 8, kTypeArray = 9;

/// A header up to the keys.
Bytes header(uint64_t tensors, uint64_t keys) {
  return Bytes().raw("GGUF").number<uint32_t>(3).number(tensors).number(keys);
}

Bytes& add_tensor(Bytes& bytes, std::string_view name, const std::vector<int64_t>& dimensions, uint32_t type,
                  uint64_t offset) {
  bytes.text(name).number(static_cast<uint32_t>(dimensions.size()));
  for (const int64_t d : dimensions) bytes.number(d);
  return bytes.number(type).number(offset);
}

/// The message for these bytes; empty if they parse. Checks what a caller may rely on.
std::string refusal(const std::string& bytes) {
  return error_of([&] {
    const GgufContents contents = parse_gguf(std::as_bytes(std::span(bytes)), "x.gguf");
    for (const GgufTensor& tensor : contents.tensors) {
      ASSERT_LE(tensor.offset, bytes.size());
      ASSERT_LE(tensor.info.bytes, bytes.size() - tensor.offset);
      ASSERT_GE(tensor.info.elements(), 0);
    }
  });
}

/// The message for a file with one tensor and 64 bytes of data.
std::string tensor_refusal(std::string_view name, const std::vector<int64_t>& dimensions, uint32_t type,
                           uint64_t offset) {
  Bytes bytes = header(1, 0);
  add_tensor(bytes, name, dimensions, type, offset).pad(32).raw(std::string(64, '\0'));
  return refusal(bytes);
}

/// A small file with keys of several types and three tensors.
std::string sound_file() {
  Bytes bytes = header(3, 6);
  bytes.text("general.architecture").number(kTypeString).text("llama");
  bytes.text("n").number(kTypeU32).number<uint32_t>(7);
  bytes.text("b").number(kTypeBool).number<uint8_t>(1);
  bytes.text("tokens").number(kTypeArray).number(kTypeString).number<uint64_t>(2).text("a").text("bc");
  bytes.text("nested")
      .number(kTypeArray)
      .number(kTypeArray)
      .number<uint64_t>(1)
      .number(kTypeU32)
      .number<uint64_t>(1)
      .number(7u);
  bytes.text("general.alignment").number(kTypeU32).number<uint32_t>(32);
  add_tensor(bytes, "a", {3, 2}, kF32, 0);
  add_tensor(bytes, "q", {32}, 8, 32);
  add_tensor(bytes, "z", {8}, kF32, 96);
  bytes.pad(32).raw(std::string(32, '\1')).raw(std::string(34, '\2')).pad(32).raw(std::string(32, '\3'));
  return bytes;
}

TEST(HostileGguf, TheSoundFileIsSound) { EXPECT_EQ(refusal(sound_file()), ""); }

TEST(HostileGguf, EveryTruncationIsRefused) {
  const std::string bytes = sound_file();
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_NE(refusal(bytes.substr(0, size)), "") << size;
}

TEST(HostileGguf, EveryCorruptByteIsRefusedOrSafe) {
  const std::string bytes = sound_file();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string bad = bytes;
      bad[at] = static_cast<char>(value);
      refusal(bad);
    }
  }
}

TEST(HostileGguf, HugeCountsAreRefusedAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  for (const uint64_t count : {uint64_t{1000}, uint64_t{1} << 32, uint64_t{1} << 62, uint64_t{1} << 63, UINT64_MAX}) {
    EXPECT_THAT(refusal(header(count, 0)), HasSubstr("the list of tensors")) << count;
    EXPECT_THAT(refusal(header(0, count)), HasSubstr("the metadata")) << count;
    EXPECT_NE(refusal(header(0, 1).number(count).raw(std::string(20, 'k'))), "") << count;
    EXPECT_NE(refusal(header(0, 1).text("k").number(kTypeString).number(count).raw("x")), "") << count;
    for (uint32_t type = 0; type < 13; ++type) {
      EXPECT_THAT(refusal(header(0, 1).text("k").number(kTypeArray).number(type).number(count).raw("xxxxxxxx")),
                  HasSubstr("metadata key k claims"))
          << type << " " << count;
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST(HostileGguf, NestingIsBounded) {
  Bytes bytes = header(0, 1).text("k").number(kTypeArray);
  for (int depth = 0; depth < 100'000; ++depth) bytes.number(kTypeArray).number<uint64_t>(1);
  EXPECT_THAT(refusal(bytes), HasSubstr("nests arrays"));
}

TEST(HostileGguf, ManyKeysTakeLinearTime) {
  constexpr uint64_t kKeys = 200'000;
  Bytes bytes = header(0, kKeys);
  for (uint64_t i = 0; i < kKeys; ++i) bytes.text(fmt::format("{}", i)).number(kTypeBool).number<uint8_t>(0);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(refusal(bytes), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // quadratic: minutes
}

TEST(HostileGguf, Beginnings) {
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal("GGU"), HasSubstr("not a GGUF file"));
  EXPECT_THAT(refusal("ggml\1\0\0\0"), HasSubstr("not a GGUF file"));
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1"), HasSubstr("git lfs pull"));
  EXPECT_THAT(refusal(Bytes().raw("GGUF").number<uint32_t>(1)), HasSubstr("version 1"));
  EXPECT_THAT(refusal(Bytes().raw("GGUF").number<uint32_t>(4)), HasSubstr("version 4"));
  EXPECT_THAT(refusal(Bytes().raw("GGUF").number<uint32_t>(0)), HasSubstr("version 0"));
  EXPECT_THAT(refusal(Bytes().raw("GGUF").number<uint32_t>(0x03000000)), HasSubstr("big-endian"));
  EXPECT_EQ(refusal(Bytes().raw("GGUF").number<uint32_t>(2).number<uint64_t>(0).number<uint64_t>(0)), "");
}

TEST(HostileGguf, Metadata) {
  const auto key = [](std::string_view name) {
    return header(0, 1).text(name).number(kTypeBool).number<uint8_t>(1).raw(".....");
  };
  EXPECT_EQ(refusal(key("k")), "");
  EXPECT_THAT(refusal(key("")), HasSubstr("empty"));
  EXPECT_THAT(refusal(key("a\nb")), HasSubstr("a\\x0ab"));
  EXPECT_THAT(refusal(key("\xff\xfe")), HasSubstr("\\xff\\xfe"));
  EXPECT_THAT(refusal(key(std::string_view("a\0b", 3))), HasSubstr("a\\x00b"));
  EXPECT_THAT(refusal(key("a\xe2\x80\xa8z")), HasSubstr("printable"));
  EXPECT_THAT(refusal(header(0, 1).text("k").number(kTypeBool).number<uint8_t>(2)), HasSubstr("true or false"));
  EXPECT_THAT(refusal(header(0, 1).text("k").number<uint32_t>(13).number<uint64_t>(0)), HasSubstr("unknown type 13"));
  EXPECT_THAT(refusal(header(0, 1).text("k").number(kTypeArray).number<uint32_t>(13).number<uint64_t>(0)),
              HasSubstr("unknown type 13"));
  Bytes twice = header(0, 2);
  twice.text("k").number(kTypeBool).number<uint8_t>(1).text("k").number(kTypeBool).number<uint8_t>(1);
  EXPECT_THAT(refusal(twice), HasSubstr("metadata key k occurs twice"));
  for (const uint32_t alignment : {0u, 3u, 48u, 0x80000000u}) {
    EXPECT_THAT(refusal(header(0, 1).text("general.alignment").number(kTypeU32).number(alignment)),
                HasSubstr("general.alignment"));
  }
  EXPECT_THAT(refusal(header(0, 1).text("general.alignment").number(kTypeString).text("32")),
              HasSubstr("general.alignment"));
}

TEST(HostileGguf, Tensors) {
  EXPECT_EQ(tensor_refusal("t", {16}, kF32, 0), "");
  EXPECT_EQ(tensor_refusal("t", {8}, kF32, 32), "");
  EXPECT_EQ(tensor_refusal("t", {0, 8}, kF32, 32), "") << "no elements is legal";
  EXPECT_EQ(tensor_refusal("t", {}, kF32, 0), "") << "a scalar is legal";
  EXPECT_THAT(tensor_refusal("t", {17}, kF32, 0),
              AllOf(HasSubstr("truncated: tensor t needs bytes 64 to 132"), HasSubstr("has 128")));
  EXPECT_THAT(tensor_refusal("t", {16}, kF32, 32), HasSubstr("truncated"));
  EXPECT_THAT(tensor_refusal("t", {16}, kF32, 64), HasSubstr("truncated"));
  EXPECT_THAT(tensor_refusal("t", {1}, kF32, 4), HasSubstr("alignment"));
  EXPECT_THAT(tensor_refusal("t", {1}, kF32, UINT64_MAX - 31), HasSubstr("impossible offset"));
  EXPECT_THAT(tensor_refusal("t", {1}, kF32, uint64_t{1} << 63), HasSubstr("impossible offset"));
  EXPECT_THAT(tensor_refusal("t", {-1}, kF32, 0), HasSubstr("dimension -1"));
  EXPECT_THAT(tensor_refusal("t", {1, 1, 1, 1, 1}, kF32, 0), HasSubstr("5 dimensions"));
  EXPECT_THAT(tensor_refusal("t", {int64_t{1} << 32, int64_t{1} << 32}, kF32, 0), HasSubstr("2^63 elements"));
  EXPECT_THAT(tensor_refusal("t", {INT64_MAX, 2, 2}, kF32, 0), HasSubstr("2^63 elements"));
  EXPECT_THAT(tensor_refusal("t", {0, INT64_MAX, INT64_MAX}, kF32, 0), HasSubstr("2^63 elements"));
  EXPECT_THAT(tensor_refusal("t", {int64_t{1} << 62}, kF32, 0), HasSubstr("2^63 bytes"));
  EXPECT_THAT(tensor_refusal("t", {16}, 16, 0), HasSubstr("IQ2_XXS"));
  EXPECT_THAT(tensor_refusal("t", {16}, 4, 0), HasSubstr("number 4"));
  EXPECT_THAT(tensor_refusal("t", {16}, UINT32_MAX, 0), HasSubstr("number 4294967295"));
  EXPECT_THAT(tensor_refusal("t", {16}, 8, 0), HasSubstr("block of 32"));
  EXPECT_THAT(tensor_refusal("", {16}, kF32, 0), HasSubstr("empty"));
  EXPECT_THAT(tensor_refusal("\xc0\xaf", {16}, kF32, 0), HasSubstr("\\xc0"));
  EXPECT_THAT(tensor_refusal("a\x1b[2J", {16}, kF32, 0), HasSubstr("a\\x1b"));
}

TEST(HostileGguf, AnEmptyTensorAtAnUnpaddedEndIsInside) {
  Bytes bytes = header(1, 0);
  add_tensor(bytes, "t", {0}, kF32, 0);
  EXPECT_EQ(refusal(bytes), "");
}

TEST(HostileGguf, TensorsThatShareBytes) {
  const auto two = [](std::string_view a, uint64_t at_a, std::string_view b, uint64_t at_b) {
    Bytes bytes = header(2, 0);
    add_tensor(bytes, a, {16}, kF32, at_a);
    add_tensor(bytes, b, {16}, kF32, at_b).pad(32).raw(std::string(160, '\0'));
    return refusal(bytes);
  };
  EXPECT_EQ(two("a", 64, "b", 0), "") << "any order is legal";
  EXPECT_THAT(two("a", 0, "b", 0), HasSubstr("share bytes"));
  EXPECT_THAT(two("a", 32, "b", 0), HasSubstr("tensors b and a share bytes"));
}

class HostileGgufFile : public ContainerTest {};

TEST_F(HostileGgufFile, ARepeatedNameIsRefused) {
  Bytes bytes = header(2, 0);
  add_tensor(bytes, "a", {8}, kF32, 0);
  add_tensor(bytes, "a", {8}, kF32, 32).pad(32).raw(std::string(64, '\0'));
  EXPECT_THAT(error_of([&] { GgufFile(put("x.gguf", bytes)); }), HasSubstr("tensor a occurs twice"));
}

TEST_F(HostileGgufFile, ImpossibleSplitsAreRefused) {
  const auto split = [&](uint32_t type, int64_t count) {
    Bytes bytes = header(0, 1).text("split.count").number(type).number(count);
    return error_of([&] { GgufFile(put("x.gguf", bytes)); });
  };
  EXPECT_THAT(split(11, 0), HasSubstr("split.count"));
  EXPECT_THAT(split(11, -1), HasSubstr("split.count"));
  EXPECT_THAT(split(10, -1), HasSubstr("split.count"));
  EXPECT_THAT(split(11, INT64_MAX), HasSubstr("split.count"));
  EXPECT_THAT(split(12, 0), HasSubstr("split.count"));
  EXPECT_THAT(split(11, 9), HasSubstr("first of 9 splits"));
}

}  // namespace
}  // namespace lowbit
