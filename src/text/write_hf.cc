// Writing the tokenizer files of a Hugging Face directory.
#include <algorithm>
#include <unordered_map>

#include "base/file.h"
#include "text/pre_names.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

bool flag(const std::vector<bool>& flags, size_t id) { return id < flags.size() && flags[id]; }

/// The merges that make SentencePiece's tokens, best scores first: each token from each pair of tokens that spell it.
std::vector<std::string> merges_from_scores(const TokenizerData& d) {
  struct Pair {
    float score;
    size_t left_id, right_id;
    std::string text;
  };
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    if (d.types[i] == TokenType::Normal || d.types[i] == TokenType::UserDefined) ids.try_emplace(d.tokens[i], i);
  }
  std::vector<Pair> pairs;
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    if (d.types[i] != TokenType::Normal) continue;
    const std::string_view token = d.tokens[i];
    for (size_t at = 0; at < token.size();) {
      at += decode_utf8(token, at).size;
      if (at >= token.size()) break;
      const auto left = ids.find(token.substr(0, at)), right = ids.find(token.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      pairs.push_back({d.scores[i], left->second, right->second,
                       std::string(token.substr(0, at)) + " " + std::string(token.substr(at))});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
    if (a.score != b.score) return a.score > b.score;
    return std::pair(a.left_id, a.right_id) < std::pair(b.left_id, b.right_id);
  });
  std::vector<std::string> merges;
  for (Pair& p : pairs) merges.push_back(std::move(p.text));
  return merges;
}

Json added_tokens(const TokenizerData& d) {
  Json out = Json::array();
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    const TokenType type = d.types[i];
    const bool special = type == TokenType::Control || type == TokenType::Unknown;
    if (!special && type != TokenType::UserDefined) continue;
    out.push_back({{"id", i},
                   {"content", d.tokens[i]},
                   {"single_word", flag(d.single_word, i)},
                   {"lstrip", flag(d.lstrip, i)},
                   {"rstrip", flag(d.rstrip, i)},
                   {"normalized", flag(d.normalized, i)},
                   {"special", special}});
  }
  return out;
}

Json model(const TokenizerData& d) {
  const bool bpe = d.model == TokenizerData::Model::Bpe;
  Json vocab = Json::object();
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    if (!vocab.contains(d.tokens[i])) vocab.push_back({d.tokens[i], i});
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", d.unknown ? Json(d.tokens[static_cast<size_t>(*d.unknown)]) : Json(nullptr)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", bpe ? d.fuse_unk : true},
          {"byte_fallback", d.byte_fallback},
          {"ignore_merges", d.ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", d.merges.empty() && !d.scores.empty() ? merges_from_scores(d) : d.merges}};
}

Json replace(std::string_view what, std::string_view with) {
  return {{"type", "Replace"}, {"pattern", {{"String", what}}}, {"content", with}};
}

/// SentencePiece as a GGUF or a tokenizer.model has it: scores, and its own rule for spaces.
bool plain_sentencepiece(const TokenizerData& d) {
  return d.model == TokenizerData::Model::SentencePiece && d.merges.empty();
}

Json normalizer(const TokenizerData& d) {
  if (!plain_sentencepiece(d)) return d.normalizer;
  Json steps = Json::array();
  if (d.add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  steps.push_back(replace(" ", kSpaceMark));
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json decoder(const TokenizerData& d) {
  if (d.model == TokenizerData::Model::Bpe) {
    return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  }
  Json steps = Json::array({replace(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

Json post_processor(const TokenizerData& d) {
  const bool bos = d.add_bos && d.bos, eos = d.add_eos && d.eos;
  if (!bos && !eos) return nullptr;
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  const auto add = [&](int32_t id, Json& list, int type) {
    const std::string& token = d.tokens[static_cast<size_t>(id)];
    list.push_back({{"SpecialToken", {{"id", token}, {"type_id", type}}}});
    special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  const auto sequence = [&](Json& list, const char* name, int type) {
    if (bos) add(*d.bos, list, type);
    list.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (eos) add(*d.eos, list, type);
  };
  sequence(single, "A", 0);
  sequence(pair, "A", 0);
  sequence(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

Json config(const TokenizerData& d) {
  Json out = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const auto name = [&](const char* key, const std::optional<int32_t>& id) {
    if (id) out[key] = d.tokens[static_cast<size_t>(*id)];
  };
  name("bos_token", d.bos);
  name("eos_token", d.eos);
  name("unk_token", d.unk);
  name("pad_token", d.pad);
  if (d.says_space_prefix) out["add_prefix_space"] = d.add_space_prefix;
  out["add_bos_token"] = d.add_bos;
  if (d.says_add_eos) out["add_eos_token"] = d.add_eos;
  out["clean_up_tokenization_spaces"] = false;
  if (!d.chat_template.empty()) out["chat_template"] = d.chat_template;
  return out;
}

}  // namespace

void write_hf_tokenizer(const TokenizerData& d, const std::filesystem::path& folder) {
  const bool by_name = d.model == TokenizerData::Model::Bpe && d.pre_tokenizer.is_null() && !d.pre.empty();
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added_tokens(d)},
                     {"normalizer", normalizer(d)},
                     {"pre_tokenizer", by_name ? pre_tokenizer_of_name(d.pre) : d.pre_tokenizer},
                     {"post_processor", post_processor(d)},
                     {"decoder", decoder(d)},
                     {"model", model(d)}};
  write_text_file(folder / "tokenizer.json", json.dump());
  write_text_file(folder / "tokenizer_config.json", config(d).dump(2) + "\n");
}

}  // namespace lowbit
