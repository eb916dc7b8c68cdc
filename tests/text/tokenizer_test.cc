#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "text/byte_level.h"
#include "text/pre_names.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kData = fs::path(LOWBIT_TEST_DATA) / "text";

std::string unhex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "no Error";
}

class Goldens : public testing::TestWithParam<const char*> {};

// Every expectation was made by the `tokenizers` or `sentencepiece` library (tools/goldens/tokenizer_ids.py).
TEST_P(Goldens, EqualIds) {
  const fs::path folder = kData / GetParam();
  const Tokenizer tokenizer(read_hf_tokenizer(folder, 0));
  const Json cases = parse_json(read_text_file(folder / "ids.json"), "ids.json");
  ASSERT_GT(cases.size(), 20U);
  for (const Json& c : cases) {
    const std::string text = unhex(c["hex"]);
    if (c.contains("ids")) {
      EXPECT_EQ(tokenizer.encode(text, true, true), c["ids"].get<std::vector<int32_t>>())
          << testing::PrintToString(text);
    }
    EXPECT_EQ(tokenizer.encode(text, false, false), c["plain"].get<std::vector<int32_t>>())
        << testing::PrintToString(text);
  }
}

// What is written is read back as the same tokenizer.
TEST_P(Goldens, WrittenAndReadAgain) {
  const fs::path scratch = fs::temp_directory_path() / fmt::format("lowbit-tokenizer-{}-{}", GetParam(), getpid());
  fs::create_directories(scratch);
  const Tokenizer original(read_hf_tokenizer(kData / GetParam(), 0));
  write_hf_tokenizer(original.data(), scratch);
  const Tokenizer again(read_hf_tokenizer(scratch, 0));
  fs::remove_all(scratch);
  for (const Json& c : parse_json(read_text_file(kData / GetParam() / "ids.json"), "ids.json")) {
    const std::string text = unhex(c["hex"]);
    EXPECT_EQ(again.encode(text, true, true), original.encode(text, true, true)) << testing::PrintToString(text);
    EXPECT_EQ(again.encode(text, false, false), original.encode(text, false, false)) << testing::PrintToString(text);
  }
}

INSTANTIATE_TEST_SUITE_P(Libraries, Goldens,
                         testing::Values("smollm", "llama3", "nfc", "falcon", "odd", "llama2", "metaspace",
                                         "sentencepiece"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST(Tokenizer, TextComesBack) {
  for (const char* name : {"smollm", "llama3", "falcon", "llama2", "sentencepiece"}) {
    const Tokenizer tokenizer(read_hf_tokenizer(kData / name, 0));
    for (const std::string text : {"Hello world", " a  b\n\n\tc", "今天 🚀 é", "x", ""}) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true, true)), text) << name;
    }
  }
}

TEST(Tokenizer, PiecesShowControlTokensOnlyOnRequest) {
  const Tokenizer tokenizer(read_hf_tokenizer(kData / "llama3", 0));
  const int32_t bos = *tokenizer.data().bos;
  EXPECT_EQ(tokenizer.piece(bos), "");
  EXPECT_EQ(tokenizer.piece(bos, true), "<s>");
  EXPECT_THAT(message_of([&] { tokenizer.piece(-1); }), HasSubstr("-1"));
  EXPECT_THAT(message_of([&] { tokenizer.piece(1 << 30); }), HasSubstr("vocabulary"));
}

TEST(Tokenizer, VocabularyIsPaddedToTheModels) {
  const TokenizerData small = read_hf_tokenizer(kData / "smollm", 0);
  const auto n = static_cast<int64_t>(small.tokens.size());
  const TokenizerData padded = read_hf_tokenizer(kData / "smollm", n + 2);
  EXPECT_EQ(padded.tokens[static_cast<size_t>(n)], fmt::format("[PAD{}]", n));
  EXPECT_EQ(padded.types[static_cast<size_t>(n)], TokenType::Unused);
  EXPECT_THAT(message_of([&] { read_hf_tokenizer(kData / "smollm", n - 1); }), HasSubstr("room for"));
  EXPECT_THAT(message_of([&] { read_hf_tokenizer(kData / "smollm", int64_t{1} << 60); }), HasSubstr("too large"));
  EXPECT_THAT(message_of([&] { read_hf_tokenizer(kData / "smollm", 2'000'000); }), HasSubstr("too large for the"));
}

TEST(Tokenizer, LongRunsTakeNoQuadraticTime) {
  const Tokenizer tokenizer(read_hf_tokenizer(kData / "smollm", 0));
  EXPECT_GT(tokenizer.encode(std::string(1 << 20, 'a'), false, false).size(), 1000U);
  EXPECT_GT(tokenizer.encode(std::string(1 << 20, ' '), false, false).size(), 1000U);
  const Tokenizer sentencepiece(read_hf_tokenizer(kData / "sentencepiece", 0));
  EXPECT_GT(sentencepiece.encode(std::string(1 << 20, 'a'), false, false).size(), 1000U);
}

// A GGUF's name stands for the same cuts as the tokenizer.json that it was made from.
TEST(PreTokenizerNames, FoundByStructure) {
  EXPECT_EQ(read_hf_tokenizer(kData / "smollm", 0).pre, "smollm");
  EXPECT_EQ(read_hf_tokenizer(kData / "llama3", 0).pre, "llama-bpe");
  EXPECT_EQ(read_hf_tokenizer(kData / "nfc", 0).pre, "qwen2");
  EXPECT_EQ(read_hf_tokenizer(kData / "odd", 0).pre, "");
  for (const char* name : {"smollm", "llama3"}) {
    TokenizerData data = read_hf_tokenizer(kData / name, 0);
    const Tokenizer described(data);
    data.pre_tokenizer = nullptr;
    const Tokenizer named(std::move(data));
    for (const Json& c : parse_json(read_text_file(kData / name / "ids.json"), "ids.json")) {
      const std::string text = unhex(c["hex"]);
      EXPECT_EQ(named.encode(text, true, true), described.encode(text, true, true)) << testing::PrintToString(text);
    }
  }
  EXPECT_THAT(message_of([] { pre_tokenizer_of_name("no-such"); }), HasSubstr("\"no-such\" is not supported"));
}

TEST(Utf8Stream, CharactersComeOutWhole) {
  const std::string text = "a é 今 🚀";
  Utf8Stream stream;
  std::string out;
  for (const char c : text) {
    const std::string shown = stream.push(std::string_view(&c, 1));
    EXPECT_EQ(Json(shown).dump().empty(), false);  // throws on what is not UTF-8
    out += shown;
  }
  EXPECT_EQ(out + stream.flush(), text);
  EXPECT_EQ(stream.push("\xf0\x9f\x98"), "");
  EXPECT_EQ(stream.push("x"), "\uFFFDx");
  EXPECT_EQ(stream.push("\xe2\x82"), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
}

TEST(ByteLevel, EveryByteHasOneSpelling) {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes += static_cast<char>(b);
  EXPECT_EQ(from_byte_level(to_byte_level(bytes)), bytes);
  EXPECT_EQ(to_byte_level(" \n"), "\u0120\u010A");
  EXPECT_EQ(from_byte_level("今"), std::nullopt);
}

class Hostile : public testing::Test {
 protected:
  Hostile() : folder_(fs::temp_directory_path() / fmt::format("lowbit-hostile-tokenizer-{}", getpid())) {
    fs::create_directories(folder_);
    json_ = parse_json(read_text_file(kData / "smollm" / "tokenizer.json"), "tokenizer.json");
  }
  ~Hostile() override { fs::remove_all(folder_); }

  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  std::string error(const std::string& text = "abc 123") const {
    put("tokenizer.json", json_.dump());
    return message_of([&] { Tokenizer(read_hf_tokenizer(folder_, 0)).encode(text, true, true); });
  }

  fs::path folder_;
  Json json_;
};

TEST_F(Hostile, TokenizerJson) {
  const Json sound = json_;
  EXPECT_EQ(error(), "no Error");
  const std::tuple<const char*, Json, const char*> changes[] = {
      {"/model", 1, "model"},
      {"/model/type", "Unigram", "Unigram"},
      {"/model/type", 7, "type"},
      {"/model/vocab", Json::array({1}), "vocab"},
      {"/model/vocab/a", "x", "integer"},
      {"/model/vocab/a", -1, "-1"},
      {"/model/vocab/a", int64_t{1} << 40, "room for"},
      {"/model/vocab/a", 2000000, "room for"},
      {"/model/vocab/a", UINT64_MAX, "integer"},
      {"/model/vocab/a", 300, "both have id"},
      {"/model/merges", "ab", "merges"},
      {"/model/merges/0", "ab", "not two tokens"},
      {"/model/merges/0", Json::array({"a"}), "merge 0"},
      {"/model/merges/0", Json::array({"a", "no such token"}), "space"},
      {"/model/merges/0", Json::array({"a", "nosuch"}), "\"nosuch\""},
      {"/model/dropout", 0.5, "dropout"},
      {"/model/unk_token", "nosuch", "nosuch"},
      {"/model/end_of_word_suffix", "</w>", "end_of_word_suffix"},
      {"/added_tokens", 3, "added_tokens"},
      {"/added_tokens/0/id", "x", "id"},
      {"/added_tokens/0/id", 2000000000, "room for"},
      {"/added_tokens/0/id", 2000000, "room for"},
      {"/added_tokens/0/content", nullptr, "content"},
      {"/added_tokens/0/lstrip", "yes", "lstrip"},
      {"/normalizer", {{"type", "Precompiled"}}, "Precompiled"},
      {"/normalizer", {{"type", "Replace"}}, "pattern"},
      {"/pre_tokenizer", {{"type", "UnicodeScripts"}}, "neither ByteLevel"},
      {"/pre_tokenizer/pretokenizers/0", {{"type", "UnicodeScripts"}}, "UnicodeScripts"},
      {"/pre_tokenizer/pretokenizers/0", {{"type", "Split"}, {"behavior", "Isolated"}}, "pattern"},
      {"/pre_tokenizer/pretokenizers/0",
       {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}},
       "does not compile"},
      {"/pre_tokenizer/pretokenizers/0",
       {{"type", "Split"}, {"pattern", {{"Regex", "[a&&b]"}}}, {"behavior", "Isolated"}},
       "&&"},
      {"/pre_tokenizer/pretokenizers/0",
       {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Sideways"}},
       "Sideways"},
      {"/post_processor", {{"type", "BertProcessing"}}, "BertProcessing"},
      {"/post_processor", {{"type", "TemplateProcessing"}, {"single", 1}}, "single"},
  };
  for (const auto& [place, value, wanted] : changes) {
    json_ = sound;
    json_[Json::json_pointer(place)] = value;
    EXPECT_THAT(error(), HasSubstr(wanted)) << place << " " << value.dump();
  }
}

TEST_F(Hostile, StepsThatGrowTheText) {
  const Json sound = json_;
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  json_["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json(40, replace)}};
  EXPECT_THAT(error(), HasSubstr("Sequence makes a text too long"));
  json_["normalizer"] = replace;
  json_["normalizer"]["content"] = std::string(1 << 20, 'a');
  EXPECT_THAT(error("aaa"), HasSubstr("Replace makes a text too long"));
  json_ = sound;
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  json_["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json(40, bytes)}};
  EXPECT_THAT(error(), HasSubstr("Sequence makes a text too long"));
}

TEST_F(Hostile, MetaspaceThatLooksLikeASequence) {
  json_["model"]["byte_fallback"] = true;
  json_["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"pretokenizers", Json::array()}};
  EXPECT_EQ(error(), "no Error");
}

TEST_F(Hostile, RegularExpressionsThatNeverEnd) {
  json_["pre_tokenizer"]["pretokenizers"][0] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a+)+[bc]"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_THAT(error(std::string(200, 'a')), HasSubstr("gives up"));
}

TEST_F(Hostile, TokenizerModel) {
  EXPECT_THAT(message_of([&] { read_hf_tokenizer(folder_, 0); }), HasSubstr("neither tokenizer.json nor"));
  const std::string sound = read_text_file(kData / "sentencepiece" / "tokenizer.model");
  put("tokenizer.model", "");
  EXPECT_THAT(message_of([&] { read_hf_tokenizer(folder_, 0); }), HasSubstr("is not a SentencePiece model"));
  for (size_t size = 1; size < sound.size(); size += sound.size() / 60) {
    put("tokenizer.model", sound.substr(0, size));
    message_of([&] { Tokenizer(read_hf_tokenizer(folder_, 0)).encode("abc", true, true); });
  }
  uint64_t random = 1;
  for (int round = 0; round < 300; ++round) {
    std::string bad = sound;
    for (int i = 0; i < 4; ++i) {
      random = random * 6364136223846793005 + 1442695040888963407;
      bad[(random >> 16) % bad.size()] = static_cast<char>(random >> 48);
    }
    put("tokenizer.model", bad);
    message_of([&] { Tokenizer(read_hf_tokenizer(folder_, 0)).encode("abc 今", true, true); });
  }
}

}  // namespace
}  // namespace lowbit
