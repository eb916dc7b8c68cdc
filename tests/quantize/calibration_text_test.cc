#include <gmock/gmock.h>

#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "model/tiny_model.h"
#include "model/tiny_tokenizer.h"
#include "quantize/calibration/documents.h"
#include "quantize/calibration/overlap.h"
#include "quantize/calibration/text.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr int32_t kBos = 256, kEos = 257;

class CalibrationText : public testing::Test {
 protected:
  CalibrationText() : folder_(testing::TempDir() + "calibration_text_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    model_.context = 4096;
  }
  ~CalibrationText() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name, std::string_view text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  std::string error_of(const CalibrationOptions& options) const {
    try {
      calibration_tokens(model_, tokenizer_, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  }

  /// Text of each sample; the special tokens' names are in it.
  static std::vector<std::string> samples(const CalibrationTokens& tokens, const Tokenizer& tokenizer) {
    std::vector<std::string> out;
    for (int64_t i = 0; i < tokens.samples(); ++i) {
      out.push_back(tokenizer.decode(
          std::span(tokens.ids).subspan(static_cast<size_t>(i * tokens.length), static_cast<size_t>(tokens.length)),
          true));
    }
    return out;
  }

  static TokenizerData with_template(const std::string& chat_template) {
    TokenizerData data = tiny_tokenizer();
    data.chat_template = chat_template;
    return data;
  }

  std::filesystem::path folder_;
  ModelConfig model_ = tiny_config(64, 2, kTinyVocab);
  Tokenizer tokenizer_{tiny_tokenizer()};
};

TEST_F(CalibrationText, APlainFileIsOneDocumentThatEndsWithTheSeparator) {
  const auto path = file("a.txt", "0123456789abcdefghijklmn\n");
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer_, {{path}, 3, 8});
  EXPECT_THAT(samples(tokens, tokenizer_), ElementsAre("01234567", "89abcdef", "ghijklmn"));
  EXPECT_EQ(tokens.description, "a.txt");
  EXPECT_EQ(tokens.note, "");
  const auto longer = file("b.txt", "0123456789abcde\n");
  EXPECT_THAT(samples(calibration_tokens(model_, tokenizer_, {{longer}, 2, 8}), tokenizer_),
              ElementsAre("01234567", "89abcde</s>"));
}

TEST_F(CalibrationText, EndOfTextSeparatesDocumentsIfTheModelHasIt) {
  TokenizerData data = tiny_tokenizer();
  data.tokens.emplace_back("<|endoftext|>");
  data.types.push_back(TokenType::Control);
  data.lstrip = data.rstrip = data.single_word = data.normalized = std::vector<bool>(data.tokens.size());
  const auto path = file("a.txt", "0123456789abcde");
  const Tokenizer tokenizer(data);
  EXPECT_EQ(calibration_tokens(model_, tokenizer, {{path}, 2, 8}).ids.back(), 259);
}

TEST_F(CalibrationText, EverySampleStartsWithBosIfTheModelAddsIt) {
  TokenizerData data = tiny_tokenizer();
  data.add_bos = true;
  const Tokenizer tokenizer(data);
  const auto path =
      file("a.jsonl", "{\"text\": \"0123456789abcdefghijk\"}\n{\"text\": \"xyz\"}\n{\"text\": \"uvw\"}\n");
  EXPECT_THAT(samples(calibration_tokens(model_, tokenizer, {{path}, 4, 8}), tokenizer),
              ElementsAre("<s>xyz<s>uvw", "<s>0123456", "<s>789abcd", "<s>efghijk"))
      << "short documents go together whole, the long one is cut and goes on after BOS";
}

TEST_F(CalibrationText, DocumentsStayWholeWhereTheyFit) {
  std::string lines;
  for (const char* text : {"aaaaaaaaa", "bbbbbbbb", "ccccc", "dddddd", "###########################", "eeeeeeeeee"}) {
    lines += fmt::format("{{\"text\": \"{}\"}}\n", text);
  }
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer_, {{file("a.jsonl", lines)}, 4, 16});
  EXPECT_THAT(samples(tokens, tokenizer_), ElementsAre("aaaaaaaaa</s>ccccc</s>", "bbbbbbbb</s>dddddd</s>",
                                                       "eeeeeeeeee</s>#####", "################"))
      << "a sample's end takes the next document that fits, or else the start of one that no sample holds";
}

TEST_F(CalibrationText, SamplesAreTakenEvenlyAndInProportionFromEachFile) {
  std::string big, small;
  for (int i = 0; i < 90; ++i) big += fmt::format("big{:05}", i);
  for (int i = 0; i < 30; ++i) small += fmt::format("low{:05}", i);
  const CalibrationOptions options{{file("big.txt", big), file("small.txt", small)}, 16, 8};
  const std::vector<std::string> s = samples(calibration_tokens(model_, tokenizer_, options), tokenizer_);
  EXPECT_THAT(
      s, ElementsAre("big00000", "big00007", "low00000", "big00015", "big00022", "big00030", "low00007", "big00037",
                     "big00045", "big00052", "low00015", "big00060", "big00067", "big00075", "low00022", "big00082"));
}

TEST_F(CalibrationText, TheMixIsWeighedByKind) {
  CalibrationOptions options{{}, 100, 512};
  int chats = 0, others = 0;
  for (const std::string& s : samples(calibration_tokens(model_, tokenizer_, options), tokenizer_)) {
    if (s.find("\n\nassistant: ") != std::string::npos) ++chats;  // samples hold about one conversation
    if (std::count_if(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }) > 250) ++others;
  }
  EXPECT_THAT(chats, testing::AllOf(testing::Ge(6), testing::Le(12)));
  EXPECT_THAT(others, testing::AllOf(testing::Ge(4), testing::Le(20)));
  options.samples = 0;
  EXPECT_GT(calibration_tokens(model_, tokenizer_, options).samples(), 800) << "all of them";
}

TEST_F(CalibrationText, TheSameTextsGiveTheSameHash) {
  const auto a = file("a.txt", std::string(400, 'a')), b = file("b.txt", std::string(399, 'a') + "b");
  const auto hash = [&](const std::filesystem::path& path) {
    return calibration_tokens(model_, tokenizer_, {{path}, 50, 8}).hash;
  };
  EXPECT_EQ(hash(a), hash(a));
  EXPECT_NE(hash(a), hash(b));
  EXPECT_EQ(calibration_tokens(model_, tokenizer_, {{file("c.txt", "abcdefgh")}, 1, 8}).hash,
            "fnv1a64:68ba7478dcb774ad")
      << "FNV-1a of a 0 0 0 b 0 0 0 ...";
}

TEST_F(CalibrationText, AFewSamplesLessGiveANoteAndTooFewAnError) {
  const auto path = file("a.txt", std::string(20 * 8, 'a'));
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer_, {{path}, 128, 8});
  EXPECT_EQ(tokens.samples(), 20);
  EXPECT_THAT(tokens.note, HasSubstr("only 20 samples of 8 tokens where 128 were asked for"));
  EXPECT_EQ(error_of({{path}, 128, 16}),
            "a.txt: has 161 tokens, 10 samples of 16; 128 samples are wanted, 16 at least: give more text, or ask for "
            "shorter samples");
  EXPECT_EQ(calibration_tokens(model_, tokenizer_, {{path}, 10, 16}).samples(), 10) << "as few as were asked for";
  EXPECT_THAT(error_of({{path}, 0, 16}), HasSubstr("16 at least"));
  EXPECT_EQ(calibration_tokens(model_, tokenizer_, {{path}, 0, 8}).samples(), 20);
}

TEST_F(CalibrationText, ImpossibleSamplesAreErrors) {
  const auto path = file("a.txt", "some text");
  EXPECT_THAT(error_of({{path}, -1, 8}), HasSubstr("not -1"));
  EXPECT_THAT(error_of({{path}, 4, 7}), HasSubstr("too short"));
  EXPECT_THAT(error_of({{path}, 4, 5000}), HasSubstr("context of 4096"));
  EXPECT_THAT(error_of({{path}, INT64_MAX / 4, 64}), HasSubstr("more than"));
}

TEST_F(CalibrationText, UnreadableTextIsAnErrorWithItsPlace) {
  EXPECT_THAT(error_of({{file("a.txt",
                              "abc\xff"
                              "def")}}),
              HasSubstr("a.txt: byte 3 is not UTF-8"));
  EXPECT_THAT(error_of({{file("a.txt", std::string("ab\0cd", 5))}}), HasSubstr("byte 2 is zero"));
  EXPECT_THAT(error_of({{file("a.txt", " \n\n")}}), HasSubstr("has no text"));
  EXPECT_THAT(error_of({{file("a.json", "[]")}}), HasSubstr("JSON lines"));
  EXPECT_THAT(error_of({{folder_ / "absent.txt"}}), HasSubstr("absent.txt"));
  const auto line = [&](const std::string& text) {
    return error_of({{file("a.jsonl", "{\"text\": \"x\"}\n\n" + text)}});
  };
  EXPECT_THAT(line("{\"text\": "), HasSubstr("a.jsonl:3: is not valid JSON"));
  EXPECT_THAT(line("[1]"), HasSubstr("a.jsonl:3: should be a JSON object"));
  EXPECT_THAT(line("{\"words\": 1}"), HasSubstr("a.jsonl:3: has neither \"text\" nor \"messages\""));
  EXPECT_THAT(line("{\"text\": 1}"), HasSubstr("a.jsonl:3: \"text\" should be"));
  EXPECT_THAT(line("{\"messages\": []}"), HasSubstr("a.jsonl:3: \"messages\" should be a list"));
  EXPECT_THAT(line("{\"messages\": [1]}"), HasSubstr("a.jsonl:3: each of"));
  EXPECT_THAT(line("{\"messages\": [{\"content\": \"x\"}]}"), HasSubstr("a.jsonl:3: \"role\" is missing"));
}

const char* const kChat =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"hi\"}, "
    "{\"role\": \"assistant\", \"content\": \"ho</s>\"}]}\n";

TEST_F(CalibrationText, ConversationsArePrintedByTheModelsTemplate) {
  const Tokenizer tokenizer(
      with_template("{% for m in messages %}{{ bos_token }}{{ m.role[0] }}:{{ m.content }}{% endfor %}"));
  const auto path = file("a.jsonl", kChat);
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer, {{path}, 1, 8});
  EXPECT_THAT(tokens.ids, ElementsAre(kBos, 's', ':', 'S', kBos, 'u', ':', 'h'));
}

TEST_F(CalibrationText, ConversationsOfAModelWithoutTemplateAreTold) {
  const auto path = file("a.jsonl", kChat);
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer_, {{path}, 1, 39});
  EXPECT_EQ(tokenizer_.decode(tokens.ids), "system: S\n\nuser: hi\n\nassistant: ho</s>") << "a name, no token";
  EXPECT_EQ(tokens.ids.back(), kEos);
}

TEST_F(CalibrationText, WhatTheTemplateRefusesIsAnErrorWithItsLine) {
  const std::string no_system =
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "{% for m in messages %}{{ m.content }}{% endfor %}";
  const Tokenizer tokenizer(with_template(no_system));
  const auto path = file("a.jsonl", std::string(kChat));
  try {
    calibration_tokens(model_, tokenizer, {{path}, 1, 8});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("a.jsonl:1: the model's chat template"));
    EXPECT_THAT(e.what(), HasSubstr("no system"));
  }
  const CalibrationDocument chat = read_calibration(std::vector{path})[0].documents[0];
  EXPECT_EQ(templated_chat(tokenizer.data(), chat, true), "S\n\nhiho</s>") << "the built-in ones get along";
}

TEST_F(CalibrationText, ATemplateThatRefusesTheBuiltInConversationsIsNoted) {
  const Tokenizer refusing(with_template("{{ raise_exception('tools are missing') }}"));
  const CalibrationTokens tokens = calibration_tokens(model_, refusing, {});
  EXPECT_EQ(tokens.ids, calibration_tokens(model_, tokenizer_, {}).ids) << "as without a template";
  EXPECT_THAT(tokens.note,
              HasSubstr("chat template does not print " + std::to_string(read_calibration({}).back().documents.size())));
}

TEST_F(CalibrationText, SpecialTokensInPlainTextAreWordsUnlessAskedFor) {
  const auto path = file("a.txt", "<s>abcdefgh");
  EXPECT_EQ(calibration_tokens(model_, tokenizer_, {{path}, 1, 8}).ids[0], '<');
  EXPECT_EQ(calibration_tokens(model_, tokenizer_, {{path}, 1, 8, true}).ids[0], kBos);
}

TEST_F(CalibrationText, ALargeTextIsThinnedOutEvenly) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += fmt::format("{:07}\n", i);
  const auto path = file("a.txt", text);
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer_, {{path}, 16, 16});
  std::vector<int> numbers;
  for (const std::string& s : samples(tokens, tokenizer_)) {
    if (const size_t at = s.find('\n'); at + 8 <= s.size() && s[at + 1] != '<')
      numbers.push_back(std::stoi(s.substr(at)));
  }
  std::sort(numbers.begin(), numbers.end());
  EXPECT_LT(numbers.front(), 2500);
  EXPECT_GT(numbers.back(), 33000);
  for (size_t i = 1; i < numbers.size(); ++i) EXPECT_LT(numbers[i] - numbers[i - 1], 9000);
}

TEST_F(CalibrationText, TheBuiltInMixIsTheFilesOfTheRepository) {
  const std::vector<CalibrationGroup> mix = read_calibration({});
  std::vector<std::string> names;
  std::set<std::string> seen;
  size_t bytes = 0;
  for (const CalibrationGroup& group : mix) {
    names.push_back(group.name);
    const auto from_file = read_calibration(
        std::vector<std::filesystem::path>{LOWBIT_TEST_DATA "/../../data/calibration/" + group.name + ".jsonl"});
    ASSERT_EQ(group.documents.size(), from_file[0].documents.size()) << group.name;
    for (size_t i = 0; i < group.documents.size(); ++i) {
      const CalibrationDocument& d = group.documents[i];
      EXPECT_EQ(d.text, from_file[0].documents[i].text) << d.where;
      EXPECT_EQ(d.messages, from_file[0].documents[i].messages) << d.where;
      const std::string text = d.is_chat() ? plain_chat(d) : d.text;
      EXPECT_TRUE(seen.insert(text).second) << d.where << " is there twice";
      EXPECT_THAT(text, Not(HasSubstr("\xef\xbf\xbd"))) << d.where << ": a damaged character";
      bytes += text.size();
    }
  }
  EXPECT_THAT(names, ElementsAre("prose", "articles", "code", "mathematics", "languages", "chat"));
  EXPECT_GT(bytes, 300'000u);
  EXPECT_LT(bytes, 900'000u);
}

TEST_F(CalibrationText, TheBuiltInMixGivesTheDefaultSamples) {
  const CalibrationTokens tokens = calibration_tokens(model_, tokenizer_, {});
  EXPECT_EQ(tokens.samples(), 128);
  EXPECT_EQ(tokens.note, "");
  EXPECT_EQ(tokens.description, "built-in mix (prose, articles, code, mathematics, languages, chat)");
  EXPECT_EQ(tokens.ids, calibration_tokens(model_, tokenizer_, {}).ids);
  EXPECT_THAT(calibration_text({}), HasSubstr("user: Write a haiku about an old bridge."));
}

TEST(OverlapTest, RunsOfThirteenWordsAreFound) {
  const std::string shared = "the quick brown fox, jumps over the lazy dog and then runs home";  // 13 words
  const Overlap none = overlap("something else " + shared.substr(4), "once " + shared + " again");
  EXPECT_EQ(none.runs, 3);
  EXPECT_EQ(none.shared, 0);
  EXPECT_EQ(overlap_warning(none), "");
  const Overlap one =
      overlap("x " + shared + " y", "once THE quick brown fox jumps over\nthe lazy dog and then runs home again");
  EXPECT_EQ(one.shared, 1);
  EXPECT_THAT(one.example, testing::StartsWith("THE quick"));
  EXPECT_THAT(one.example, testing::EndsWith("runs home"));
  EXPECT_THAT(overlap_warning(one), HasSubstr("33.3 % of the evaluation text"));
}

TEST(OverlapTest, TextWithoutSpacesIsComparedByCharacter) {
  const std::string text = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心";
  EXPECT_GT(overlap("前言 " + text, text + "，并应以兄弟关系的精神相对待").fraction(), 0.4);
  EXPECT_EQ(overlap("他们赋有理性和良心", text).shared, 0) << "nine characters are no run of thirteen";
}

TEST(OverlapTest, AnyBytesAreFine) {
  EXPECT_EQ(overlap("", "").runs, 0);
  EXPECT_EQ(overlap("\xff\xfe\x80", "a b c").shared, 0);
  EXPECT_EQ(overlap_warning(overlap("a", "b")), "");
}

TEST(OverlapTest, AStrayPhraseIsNoWarning) {
  std::string evaluation;
  for (int i = 0; i < 2000; ++i) evaluation += fmt::format("w{} ", i);
  EXPECT_EQ(overlap(evaluation.substr(0, 70), evaluation).shared > 0, true);
  EXPECT_EQ(overlap_warning(overlap(evaluation.substr(0, 70), evaluation)), "");
}

}  // namespace
}  // namespace lowbit
