#include "text/pre_names.h"

#include <optional>
#include <vector>

#include "base/error.h"

namespace lowbit {
namespace {

using std::string_view;

// The regular expressions as the models' own tokenizer.json have them.
constexpr string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr string_view kDigit = R"(\p{N})";
constexpr string_view kDigits = R"(\p{N}+)";
constexpr string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr string_view kPunctuation = R"([\p{P}!-/:-@\[-`{-~]+)";
constexpr string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kAyaDigits = R"(\d{1,3}(?=(?:\d{3})*\b))";
constexpr string_view kBloomPlain = R"( ?[^(\s|.,!?…。，、।۔،)]+)";
constexpr string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr string_view kSeed =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| "
    "?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
constexpr string_view kUfakzeka =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr string_view kMinicpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr string_view kLines = R"([^\n]+|[\n]+)";
constexpr string_view kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr string_view kCjk = "[一-龥぀-ゟ゠-ヿ]+";
constexpr string_view kDeepseekV3 =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
constexpr string_view kSpark =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+|[\r\n]|\\s+(?!\\S)|\\s+";
constexpr string_view kLineEnd = "[\r\n]";
constexpr string_view kDeepseekLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-"
    "ᏽᲐ-"
    "ᲺᲽ-"
    "Ჿᴀ-"
    "ᴫᵫ-"
    "ᵷᵹ-"
    "ᶚḀ-"
    "ἕἘ-"
    "Ἕἠ"
    "-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-"
    "ꚛꜢ-"
    "ꝯ"
    "ꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]"
    "+";
constexpr string_view kDeepseekMarks = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";
constexpr string_view kTrailingSpace = R"(\s+$)";
constexpr string_view kDeepseekCjk = "[一-龥ࠀ-一가-퟿]+";
constexpr string_view kSpacedLetters = R"(\s?\p{L}+)";
constexpr string_view kSpacedMarks = R"(\s?\p{P}+)";

struct Entry {
  std::vector<string_view> names;    // the first is the one written
  std::vector<string_view> regexes;  // one cut after another, matches isolated
  bool ignore_merges = false, add_bos = false;
};

// (Facts of the names: llama.cpp, src/llama-vocab.cpp.)
const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = {
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}, {kDigit, kGpt2}},
      {{"gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
        "modern-bert", "exaone4", "mpt", "olmo", "jais", "trillion", "granite-docling"},
       {kGpt2}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"},
       {kLlama3},
       true,
       true},
      {{"glm4", "glm5"}, {kLlama3}, true},
      {{"smaug-bpe", "dbrx", "chatglm-bpe"}, {kLlama3}},
      {{"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"},
       {kQwen2}},
      {{"qwen35"}, {kQwen35}},
      {{"jais-2"}, {kJais2}},
      {{"tekken"}, {kTekken}, true, true},
      {{"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, {kGpt4o}},
      {{"tiny_aya", "cohere2moe"}, {kAyaDigits, kGpt4o}},
      {{"poro-chat", "bloom", "gpt3-finnish"}, {kBloomPlain}},
      {{"viking"}, {kBloomPlain, kDigit}},
      {{"bailingmoe", "bailingmoe2", "llada-moe"}, {kBailing}},
      {{"seed-coder"}, {kSeed}},
      {{"ufakzeka"}, {kUfakzeka}},
      {{"exaone-moe"}, {kExaoneMoe}},
      {{"minicpm5"}, {kUpToThreeDigits, kMinicpm5}, true},
      {{"laguna"}, {kLines, kQwen2}},
      {{"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}, {kUpToThreeDigits, kCjk, kDeepseekV3}},
      {{"spark2_5"}, {kUpToThreeDigits, kCjk, kSpark, kDigit}},
      {{"deepseek-llm"}, {kLineEnd, kDeepseekLetters, kDeepseekMarks, kTrailingSpace, kDeepseekCjk, kDigits}},
      {{"deepseek-coder"}, {kLineEnd, kSpacedLetters, kSpacedMarks, kDeepseekCjk, kDigit}},
      {{"falcon"}, {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, kThreeDigits}},
      {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, kDigits, kThreeDigits}},
  };
  return all;
}

const Entry& entry_of(string_view name) {
  for (const Entry& entry : entries())
    for (const string_view known : entry.names)
      if (known == name) return entry;
  fail("tokenizer.ggml.pre: the pre-tokenizer \"{}\" is not supported", name);
}

// The cuts of a pre-tokenizer as regular expressions whose matches are isolated; nothing if it does more than that.
std::optional<std::vector<std::string>> cuts_of(const Json& json, bool& byte_level, int depth) {
  if (!json.is_object() || depth > 8 || byte_level) return std::nullopt;
  const std::string type = json.value("type", "");
  if (type == "Sequence") {
    const auto steps = json.find("pretokenizers");
    if (steps == json.end() || !steps->is_array()) return std::nullopt;
    std::vector<std::string> all;
    for (const Json& step : *steps) {
      const auto cuts = cuts_of(step, byte_level, depth + 1);
      if (!cuts) return std::nullopt;
      all.insert(all.end(), cuts->begin(), cuts->end());
    }
    return all;
  }
  if (type == "ByteLevel") {
    if (json.value("add_prefix_space", true)) return std::nullopt;
    byte_level = true;
    if (!json.value("use_regex", true)) return std::vector<std::string>{};
    return std::vector<std::string>{std::string(kGpt2)};
  }
  if (type == "Digits")
    return std::vector<std::string>{std::string(json.value("individual_digits", false) ? kDigit : kDigits)};
  if (type == "Punctuation" && json.value("behavior", "Isolated") == "Contiguous")
    return std::vector<std::string>{std::string(kPunctuation)};
  if (type == "Split" && json.contains("pattern") && json["pattern"].is_object() && json["pattern"].contains("Regex")) {
    const std::string behavior = json.value("behavior", "");
    const bool invert = json.value("invert", false);
    // "Removed, inverted" keeps the matches: the same where they cover the text, as all these expressions do.
    if ((behavior == "Isolated" && !invert) || (behavior == "Removed" && invert))
      return std::vector<std::string>{json["pattern"].value("Regex", "")};
  }
  return std::nullopt;
}

}  // namespace

Json pre_tokenizer_of_name(string_view name) {
  Json steps = Json::array();
  for (const string_view regex : entry_of(name).regexes)
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

PreTokenizerFacts pre_tokenizer_facts(string_view name) {
  const Entry& entry = entry_of(name);
  return {entry.ignore_merges, entry.add_bos};
}

std::string name_of_pre_tokenizer(const Json& pre_tokenizer, bool ignore_merges) {
  bool byte_level = false;
  std::optional<std::vector<std::string>> cuts;
  try {
    cuts = cuts_of(pre_tokenizer, byte_level, 0);
  } catch (const Json::exception&) {  // a field of another type
    return {};
  }
  if (!cuts || !byte_level) return {};
  for (const Entry& entry : entries())
    if (entry.ignore_merges == ignore_merges &&
        std::equal(cuts->begin(), cuts->end(), entry.regexes.begin(), entry.regexes.end()))
      return std::string(entry.names.front());
  return {};
}

}  // namespace lowbit
