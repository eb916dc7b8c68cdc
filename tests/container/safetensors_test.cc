#include "container/safetensors.h"

#include "base/json.h"
#include "container/safetensors_header.h"
#include "container_testing.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<TensorInfo>& planned() {
  static const std::vector<TensorInfo> plan = {tensor_of("f16", {3, 5}, EncodingId::F16),
                                               tensor_of("f32", {7}, EncodingId::F32),
                                               tensor_of("bf16", {2, 3, 4}, EncodingId::BF16),
                                               tensor_of("f64", {2}, EncodingId::F64),
                                               tensor_of("scalar", {}, EncodingId::F32),
                                               tensor_of("empty", {0, 4}, EncodingId::F16),
                                               tensor_of("u8", {3}, EncodingId::U8),
                                               tensor_of("i8", {3}, EncodingId::I8),
                                               tensor_of("i16", {3}, EncodingId::I16),
                                               tensor_of("i32", {3}, EncodingId::I32),
                                               tensor_of("i64", {3}, EncodingId::I64),
                                               tensor_of("bool", {3}, EncodingId::Bool),
                                               tensor_of("\xc3\xa9 \"quoted\"", {1}, EncodingId::F32)};
  return plan;
}

class SafetensorsTest : public ContainerTest {
 protected:
  void write(const std::filesystem::path& folder, uint64_t shard_bytes) const {
    SafetensorsWriter writer(folder, planned(), shard_bytes);
    for (size_t i = planned().size(); i-- > 0;) {
      const auto bytes = noise(planned()[i].bytes, static_cast<unsigned>(i));
      writer.write(i, bytes.size() / 2, std::span(bytes).subspan(bytes.size() / 2));
      writer.write(i, 0, std::span(bytes).first(bytes.size() / 2));
    }
    writer.finish();
  }
  static void expect_plan(const Safetensors& store) {
    ASSERT_EQ(store.tensors().size(), planned().size());
    for (size_t i = 0; i < planned().size(); ++i) {
      const TensorInfo& tensor = store.at(planned()[i].name);
      EXPECT_EQ(tensor.shape, planned()[i].shape);
      EXPECT_EQ(tensor.encoding, planned()[i].encoding);
      EXPECT_EQ(all_bytes(store, tensor), noise(planned()[i].bytes, static_cast<unsigned>(i)));
    }
  }
  /// The message for a file with this JSON as its header and `data` bytes behind it.
  std::string refusal(const std::string& header, size_t data) const {
    put("x.safetensors", Bytes().number<uint64_t>(header.size()).raw(header).raw(std::string(data, '\1')));
    return error_of([&] { Safetensors(path("x.safetensors")); });
  }
};

TEST_F(SafetensorsTest, RoundTripSingle) {
  write(folder_, uint64_t{5} << 30);
  EXPECT_TRUE(std::filesystem::exists(path("model.safetensors")));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
  expect_plan(Safetensors(folder_));
  expect_plan(Safetensors(path("model.safetensors")));
  EXPECT_THAT(get("model.safetensors"), HasSubstr(R"("__metadata__":{"format":"pt"})"));
}

TEST_F(SafetensorsTest, TensorsAreAlignedToTheirElements) {
  write(folder_, uint64_t{5} << 30);
  const std::string bytes = get("model.safetensors");
  for (const auto& entry : parse_safetensors(std::as_bytes(std::span(bytes)), "x")) {
    EXPECT_EQ(entry.offset % static_cast<uint64_t>(entry.info.encoding->block_bytes), 0u) << entry.info.name;
  }
}

TEST_F(SafetensorsTest, RoundTripSharded) {
  write(folder_, 60);
  const Json index = parse_json(get("model.safetensors.index.json"), "index");
  uint64_t total = 0;
  for (const auto& tensor : planned()) total += tensor.bytes;
  EXPECT_EQ(index["metadata"]["total_size"], total);
  EXPECT_EQ(index["weight_map"].size(), planned().size());
  EXPECT_EQ(index["weight_map"]["f16"], "model-00001-of-00004.safetensors");
  EXPECT_FALSE(std::filesystem::exists(path("model.safetensors")));
  expect_plan(Safetensors(folder_));
  expect_plan(Safetensors(path("model.safetensors.index.json")));
}

TEST_F(SafetensorsTest, SameInputSameBytes) {
  write(path("a"), 100);
  write(path("b"), 100);
  for (const auto& entry : std::filesystem::directory_iterator(path("a"))) {
    const std::string name = entry.path().filename();
    EXPECT_EQ(get("a/" + name), get("b/" + name));
  }
}

TEST_F(SafetensorsTest, TwoLayoutsInOneFolderAreNotMixed) {
  write(folder_, 60);
  EXPECT_THAT(error_of([&] { write(folder_, 1 << 20); }), HasSubstr("index.json: is left from another model"));
  std::filesystem::remove_all(folder_);
  write(folder_, 1 << 20);
  EXPECT_THAT(error_of([&] { write(folder_, 60); }), HasSubstr("model.safetensors: is left from another model"));
  write(folder_, 1 << 20);  // the same layout is simply replaced
  expect_plan(Safetensors(folder_));
}

TEST_F(SafetensorsTest, WhatItCannotHold) {
  EXPECT_THAT(error_of([&] { SafetensorsWriter(folder_, {tensor_of("q", {32}, EncodingId::Q8_0)}); }),
              HasSubstr("Q8_0"));
  EXPECT_THAT(error_of([&] { SafetensorsWriter(folder_, {planned()[0], planned()[0]}); }), HasSubstr("twice"));
  {
    SafetensorsWriter writer(folder_, planned());
    EXPECT_NE(error_of([&] { writer.finish(); }), "");
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SafetensorsTest, FoldersWithoutSafetensorsAreExplained) {
  EXPECT_THAT(error_of([&] { Safetensors{folder_}; }), HasSubstr("neither model.safetensors"));
  EXPECT_THAT(error_of([&] { Safetensors(path("absent")); }), HasSubstr("No such file"));
  put("pytorch_model.bin", "PK\x03\x04");
  EXPECT_THAT(error_of([&] { Safetensors{folder_}; }),
              AllOf(HasSubstr("pickled"), HasSubstr("convert them to safetensors")));
  EXPECT_THAT(error_of([&] { Safetensors(path("pytorch_model.bin")); }), HasSubstr("safetensors"));
  put("b/pytorch_model.bin.index.json", "{}");
  EXPECT_THAT(error_of([&] { Safetensors(path("b")); }), HasSubstr("pickled"));
  put("c/training_args.bin", "x");
  EXPECT_THAT(error_of([&] { Safetensors(path("c")); }), HasSubstr("neither model.safetensors"));
  put("d/m-q4.gguf", "GGUF");
  EXPECT_THAT(error_of([&] { Safetensors(path("d")); }), HasSubstr("m-q4.gguf"));
}

TEST_F(SafetensorsTest, WhatIsNotSafetensorsIsExplained) {
  const auto refused = [&](const std::string& bytes) {
    put("model.safetensors", bytes);
    return error_of([&] { Safetensors{folder_}; });
  };
  EXPECT_THAT(refused("version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 3\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(refused(""), HasSubstr("empty"));
  EXPECT_THAT(refused("GGUF\3\0\0\0 and so on"), HasSubstr("GGUF"));
  EXPECT_THAT(refused("<!DOCTYPE html><html>"), HasSubstr("web page"));
  EXPECT_THAT(refused(std::string("PK\x03\x04 data.pkl", 12)), HasSubstr("pickle"));
}

TEST_F(SafetensorsTest, ASymlinkedSnapshotReads) {
  // As Hugging Face's cache lays it out: snapshots/HASH/model.safetensors -> ../../blobs/SHA
  write(path("written"), 60);
  std::filesystem::create_directories(path("blobs"));
  std::filesystem::create_directories(path("snapshots/main"));
  int number = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path("written"))) {
    const std::string blob = fmt::format("blob{}", number++);
    std::filesystem::rename(entry.path(), path("blobs") / blob);
    std::filesystem::create_symlink("../../blobs/" + blob, path("snapshots/main") / entry.path().filename());
  }
  expect_plan(Safetensors(path("snapshots/main")));
}

TEST_F(SafetensorsTest, HostileHeaders) {
  const std::string tensor = R"("t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_EQ(refusal("{" + tensor + "}", 8), "");
  EXPECT_EQ(refusal("{\"__metadata__\":{\"a\":\"b\"}," + tensor + "}   ", 8), "");
  EXPECT_EQ(refusal(R"({"__metadata__":{}})", 0), "");

  EXPECT_THAT(refusal("{" + tensor + "," + tensor + "}", 8), HasSubstr("twice"));
  EXPECT_THAT(refusal("{" + tensor + "}", 7), HasSubstr("truncated: tensor t needs bytes 0 to 8"));
  EXPECT_THAT(refusal("{" + tensor + "}", 9), HasSubstr("9 follow"));
  EXPECT_THAT(refusal("{" + tensor, 8), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{" + tensor + "}}", 8), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("F99"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), HasSubstr("12 bytes"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), HasSubstr("negative"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[-8,8]}})", 8), HasSubstr("negative"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), HasSubstr("data_offsets"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", 8), HasSubstr("number"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8), HasSubstr("array"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8), HasSubstr("integer"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8), HasSubstr("array"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2]}})", 8), HasSubstr("lacks"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 8),
              HasSubstr("repeated"));
  EXPECT_THAT(refusal(R"({"t":null})", 8), HasSubstr("null"));
  EXPECT_THAT(refusal(R"({"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("empty"));
  EXPECT_THAT(refusal(R"({"a\nb":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("a\\x0ab"));
  EXPECT_THAT(refusal("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8), HasSubstr("JSON"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8),
              HasSubstr("2^63"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,8]}})", 8),
              HasSubstr("2^63"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", 8),
              HasSubstr("integer"));
  const auto two = [&](const std::string& a, const std::string& b) {
    return refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
                       R"(},"b":{"dtype":"F32","shape":[2],"data_offsets":)" + b + "}}",
                   16);
  };
  EXPECT_EQ(two("[8,16]", "[0,8]"), "");
  EXPECT_THAT(two("[0,8]", "[0,8]"), HasSubstr("tensor b begins at byte 0"));
  EXPECT_THAT(two("[0,8]", "[4,12]"), HasSubstr("tensor b begins at byte 4"));
  EXPECT_THAT(two("[0,8]", "[18446744073709551608,18446744073709551615]"), HasSubstr("data_offsets"));
}

TEST_F(SafetensorsTest, HugeHeaderLengthsAreRefused) {
  for (const uint64_t length :
       {uint64_t{3}, uint64_t{100}, uint64_t{1} << 31, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7}) {
    put("x.safetensors", Bytes().number<uint64_t>(length).raw("{}"));
    EXPECT_NE(error_of([&] { Safetensors(path("x.safetensors")); }), "") << length;
  }
}

TEST_F(SafetensorsTest, BombsOfBracketsCostNothing) {
  const std::string deep(10'000'000, '[');
  EXPECT_THAT(refusal("{\"t\":" + deep, 0), HasSubstr("array"));
  EXPECT_THAT(refusal("{\"t\":{\"shape\":" + deep, 0), HasSubstr("array"));
  put("model.safetensors.index.json", "{\"x\":" + deep);
  EXPECT_THAT(error_of([&] { Safetensors{folder_}; }), HasSubstr("nested"));
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  write(path("whole"), uint64_t{5} << 30);
  const std::string bytes = get("whole/model.safetensors");
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto part = std::as_bytes(std::span(bytes)).first(size);
    EXPECT_NE(error_of([&] { parse_safetensors(part, "x.safetensors"); }), "") << size;
  }
}

TEST_F(SafetensorsTest, EveryCorruptByteIsRefusedOrSafe) {
  write(path("whole"), uint64_t{5} << 30);
  const std::string bytes = get("whole/model.safetensors");
  const size_t header = bytes.find('}', bytes.rfind("data_offsets")) + 2;
  for (size_t at = 0; at < header; ++at) {
    for (const int flip : {0x01, 0x02, 0x10, 0x20, 0x80, 0xff}) {
      std::string bad = bytes;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      error_of([&] {
        for (const auto& entry : parse_safetensors(std::as_bytes(std::span(bad)), "x.safetensors")) {
          ASSERT_LE(entry.offset + entry.info.bytes, bad.size());
        }
      });
    }
  }
}

TEST_F(SafetensorsTest, HostileIndexes) {
  write(folder_, 60);
  const auto refused = [&](const std::string& index) {
    put("model.safetensors.index.json", index);
    return error_of([&] { Safetensors{folder_}; });
  };
  EXPECT_THAT(refused("{}"), HasSubstr("no weight_map"));
  EXPECT_THAT(refused(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refused("[]"), HasSubstr("array"));
  EXPECT_THAT(refused(R"({"weight_map":[]})"), HasSubstr("array"));
  EXPECT_THAT(refused(R"({"weight_map":["a","b"]})"), HasSubstr("array"));
  EXPECT_THAT(refused(R"({"weight_map":"a"})"), HasSubstr("no weight_map"));
  EXPECT_THAT(refused(R"({"weight_map":{"a":1}})"), HasSubstr("number"));
  EXPECT_THAT(refused(R"({"weight_map":{"a":"../../etc/passwd"}})"), HasSubstr("no file name"));
  EXPECT_THAT(refused(R"({"weight_map":{"a":"/etc/passwd"}})"), HasSubstr("no file name"));
  EXPECT_THAT(refused(R"({"weight_map":{"a":".."}})"), HasSubstr("no file name"));
  EXPECT_THAT(refused(R"({"weight_map":{"a":"model-00009-of-00009.safetensors"}})"),
              AllOf(HasSubstr("model-00009-of-00009.safetensors"), HasSubstr("missing")));
  EXPECT_THAT(refused(R"({"weight_map":{"a":"model-00001-of-00004.safetensors"}})"),
              HasSubstr("tensor a should be in"));
  EXPECT_THAT(refused(R"({"weight_map":{"a":"x","a":"x"}})"), HasSubstr("twice"));
  EXPECT_EQ(
      refused(
          R"({"metadata":{"total_size":1,"more":[1.5,null,true,-1,{"x":"y"}]},"weight_map":{"f16":"model-00001-of-00004.safetensors"}})"),
      "");
}

}  // namespace
}  // namespace lowbit
