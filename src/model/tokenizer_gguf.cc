#include "model/tokenizer_gguf.h"

#include <algorithm>

#include "base/error.h"
#include "text/pre_names.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

using Model = TokenizerData::Model;

template <typename T>
GgufValue array(std::vector<T> items) {
  auto made = std::make_shared<GgufArray>();
  made->items = std::move(items);
  return made;
}

// Scores that make llama.cpp merge in the order of the merges, for vocabularies that came without.
std::vector<float> scores_of_merges(const TokenizerData& data) {
  std::map<std::string, float, std::less<>> score;
  for (const std::string& merge : data.merges) {
    std::string token = merge;
    token.erase(token.find(' ', 1), 1);
    score.try_emplace(token, -static_cast<float>(score.size()));
  }
  std::vector<float> scores;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const auto found = score.find(data.tokens[i]);
    scores.push_back(found == score.end() || data.types[i] != TokenType::Normal ? -1e6f : found->second);
  }
  return scores;
}

}  // namespace

void tokenizer_to_gguf(const TokenizerData& data, GgufMetadata& out) {
  const bool bpe = data.model == Model::Bpe;
  if (bpe && data.pre.empty())
    fail("tokenizer: llama.cpp has no name for this pre-tokenizer, it would cut the text differently: {}",
         data.pre_tokenizer.dump().substr(0, 300));
  const bool has_merges = bpe || data.pre == "gemma4";
  if (data.says_space_prefix || (!has_merges && !data.add_space_prefix))
    out.set("tokenizer.ggml.add_space_prefix", data.add_space_prefix);
  out.set("tokenizer.ggml.model", std::string(bpe ? "gpt2" : has_merges ? "gemma4" : "llama"));
  out.set("tokenizer.ggml.pre", has_merges ? data.pre : std::string("default"));
  std::vector<std::string> tokens = data.tokens;
  std::vector<int32_t> types;
  for (size_t i = 0; i < tokens.size(); ++i) {
    types.push_back(static_cast<int32_t>(data.types[i]));
    if (data.types[i] == TokenType::UserDefined) tokens[i] = plain_spaces(tokens[i]);
  }
  out.set("tokenizer.ggml.tokens", array(std::move(tokens)));
  if (!has_merges) out.set("tokenizer.ggml.scores", array(data.scores.empty() ? scores_of_merges(data) : data.scores));
  out.set("tokenizer.ggml.token_type", array(std::move(types)));
  if (has_merges) out.set("tokenizer.ggml.merges", array(data.merges));
  const auto set_id = [&](const char* key, const std::optional<int32_t>& id) {
    if (id) out.set(key, static_cast<uint32_t>(*id));
  };
  set_id("tokenizer.ggml.bos_token_id", data.bos);
  set_id("tokenizer.ggml.eos_token_id", data.eos);
  set_id("tokenizer.ggml.unknown_token_id", data.unk);
  set_id("tokenizer.ggml.padding_token_id", data.pad);
  if (data.says_add_eos || data.add_eos) out.set("tokenizer.ggml.add_eos_token", data.add_eos);
  if (!data.chat_template.empty()) out.set("tokenizer.chat_template", data.chat_template);
  out.set("tokenizer.ggml.add_bos_token", data.add_bos);
}

TokenizerData tokenizer_from_gguf(const GgufMetadata& metadata) {
  TokenizerData data;
  const std::string model = metadata.string_at("tokenizer.ggml.model");
  // "gemma4" is SentencePiece BPE as tokenizer.json has it: with merges in place of scores.
  const bool has_merges = model == "gpt2" || model == "gemma4";
  if (!has_merges && model != "llama")
    fail(
        "{}: tokenizer.ggml.model is \"{}\"; lowbit reads \"gpt2\" (BPE), \"llama\" and \"gemma4\" (SentencePiece BPE)",
        metadata.where, model);
  data.model = model == "gpt2" ? Model::Bpe : Model::SentencePiece;
  data.tokens = metadata.strings_at("tokenizer.ggml.tokens");
  const size_t n = data.tokens.size();
  data.types.assign(n, TokenType::Normal);
  if (const auto types = metadata.ints("tokenizer.ggml.token_type")) {
    if (types->size() != n)
      fail("{}: tokenizer.ggml.token_type has {} entries for {} tokens", metadata.where, types->size(), n);
    for (size_t i = 0; i < n; ++i) {
      // llama.cpp reads what it does not know as undefined, which acts as a normal token.
      if ((*types)[i] >= 1 && (*types)[i] <= 6) data.types[i] = static_cast<TokenType>((*types)[i]);
    }
  }
  PreTokenizerFacts facts;
  if (data.model == Model::Bpe) {
    data.pre = metadata.string_or("tokenizer.ggml.pre", "default");
    facts = pre_tokenizer_facts(data.pre);
    data.ignore_merges = facts.ignore_merges;
  } else if (has_merges) {
    data.pre = model;
    data.normalizer = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
    data.byte_fallback = true;
  } else {
    const auto scores = metadata.floats("tokenizer.ggml.scores");
    if (!scores) fail("{}: tokenizer.ggml.scores is missing", metadata.where);
    if (scores->size() != n)
      fail("{}: tokenizer.ggml.scores has {} entries for {} tokens", metadata.where, scores->size(), n);
    data.scores = *scores;
    data.byte_fallback = true;
  }
  if (has_merges) data.merges = metadata.strings_at("tokenizer.ggml.merges");
  for (auto* flags : {&data.lstrip, &data.rstrip, &data.single_word, &data.normalized}) flags->assign(n, false);
  const auto id = [&](const char* key, std::optional<int32_t> otherwise) -> std::optional<int32_t> {
    if (!metadata.find(key)) return otherwise && static_cast<size_t>(*otherwise) < n ? otherwise : std::nullopt;
    const int64_t value = metadata.int_at(key);
    // llama.cpp writes -1 and out-of-range ids for "none".
    if (value < 0 || static_cast<size_t>(value) >= n) return std::nullopt;
    return static_cast<int32_t>(value);
  };
  const bool spm = model == "llama";
  const auto unless = [&](int32_t value) { return spm ? std::optional<int32_t>(value) : std::nullopt; };
  data.bos = id("tokenizer.ggml.bos_token_id", unless(1));
  data.eos = id("tokenizer.ggml.eos_token_id", unless(2));
  data.unk = id("tokenizer.ggml.unknown_token_id", unless(0));
  data.pad = id("tokenizer.ggml.padding_token_id", std::nullopt);
  if (data.model == Model::SentencePiece) data.unknown = data.unk;
  data.add_bos =
      metadata.bool_or("tokenizer.ggml.add_bos_token", !has_merges || model == "gemma4" || facts.add_bos) && data.bos;
  data.add_eos = metadata.bool_or("tokenizer.ggml.add_eos_token", false) && data.eos;
  data.says_add_eos = metadata.find("tokenizer.ggml.add_eos_token");
  data.add_space_prefix = metadata.bool_or("tokenizer.ggml.add_space_prefix", spm);
  data.says_space_prefix = metadata.find("tokenizer.ggml.add_space_prefix");
  for (const auto& end :
       {data.eos, id("tokenizer.ggml.eot_token_id", std::nullopt), id("tokenizer.ggml.eom_token_id", std::nullopt)})
    if (end &&
        std::find(data.end_of_generation.begin(), data.end_of_generation.end(), *end) == data.end_of_generation.end())
      data.end_of_generation.push_back(*end);
  add_known_ends(data);
  data.chat_template = metadata.string_or("tokenizer.chat_template", "");
  return data;
}

}  // namespace lowbit
