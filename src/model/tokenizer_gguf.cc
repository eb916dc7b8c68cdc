#include "model/tokenizer_gguf.h"

#include <unordered_map>

#include "base/error.h"

namespace lowbit {
namespace {

template <typename T>
GgufValue array_of(std::vector<T> items) {
  auto array = std::make_shared<GgufArray>();
  array->items = std::move(items);
  return array;
}

void set_id(GgufMetadata& out, const char* key, const std::optional<int32_t>& id) {
  if (id) out.set(std::string("tokenizer.ggml.") + key, static_cast<uint32_t>(*id));
}

std::optional<int32_t> read_id(const GgufMetadata& m, const char* key, size_t tokens) {
  const std::string name = std::string("tokenizer.ggml.") + key;
  const int64_t id = m.int_or(name, -1);
  if (id < 0 || id == int64_t{0xFFFFFFFF}) return std::nullopt;  // llama.cpp's way of saying none
  if (id >= static_cast<int64_t>(tokens)) fail("{}: {} is {}, beyond the vocabulary of {}", m.where, name, id, tokens);
  return static_cast<int32_t>(id);
}

std::vector<TokenType> read_types(const GgufMetadata& m, size_t tokens) {
  const auto numbers = m.ints("tokenizer.ggml.token_type");
  if (!numbers) return std::vector<TokenType>(tokens, TokenType::Normal);
  if (numbers->size() != tokens) {
    fail("{}: tokenizer.ggml.token_type has {} entries for {} tokens", m.where, numbers->size(), tokens);
  }
  std::vector<TokenType> types;
  for (const int64_t n : *numbers) {
    if (n < 0 || n > 6) fail("{}: tokenizer.ggml.token_type {} is not known", m.where, n);
    types.push_back(n == 0 ? TokenType::Normal : static_cast<TokenType>(n));
  }
  return types;
}

/// Tokens whose names say that they end an answer, whatever the metadata says: models are published whose EOS is wrong.
bool ends_an_answer(std::string_view token) {
  for (const char* name : {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>",
                           "<EOT>", "_<EOT>", "<|end_of_text|>"}) {
    if (token == name) return true;
  }
  return false;
}

}  // namespace

void tokenizer_to_gguf(const TokenizerData& d, GgufMetadata& out) {
  const bool bpe = d.model == TokenizerData::Model::Bpe;
  if (bpe && d.pre.empty() && d.from_tokenizer_json) {
    fail("tokenizer: GGUF has no name for this pre-tokenizer, and llama.cpp would split text wrongly: {}",
         d.pre_tokenizer.dump());
  }
  if (d.says_space_prefix) out.set("tokenizer.ggml.add_space_prefix", d.add_space_prefix);
  out.set("tokenizer.ggml.model", std::string(bpe ? "gpt2" : "llama"));
  out.set("tokenizer.ggml.pre", bpe ? d.pre : std::string("default"));
  out.set("tokenizer.ggml.tokens", array_of(d.tokens));
  if (!bpe) {
    std::vector<float> scores = d.scores;
    if (scores.empty()) {  // from merges: a token is as good as the first merge that makes it
      scores.assign(d.tokens.size(), -1e6F);
      std::unordered_map<std::string, size_t> ids;
      for (size_t i = 0; i < d.tokens.size(); ++i) ids.try_emplace(d.tokens[i], i);
      for (size_t rank = d.merges.size(); rank-- > 0;) {
        const size_t space = d.merges[rank].find(' ', 1);
        const auto found = ids.find(d.merges[rank].substr(0, space) + d.merges[rank].substr(space + 1));
        if (found != ids.end()) scores[found->second] = -static_cast<float>(rank);
      }
    }
    out.set("tokenizer.ggml.scores", array_of(scores));
  }
  std::vector<int32_t> types;
  for (const TokenType type : d.types) types.push_back(static_cast<int32_t>(type));
  out.set("tokenizer.ggml.token_type", array_of(std::move(types)));
  if (bpe) out.set("tokenizer.ggml.merges", array_of(d.merges));
  set_id(out, "bos_token_id", d.bos);
  set_id(out, "eos_token_id", d.eos);
  set_id(out, "unknown_token_id", d.unk);
  set_id(out, "padding_token_id", d.pad);
  if (!d.chat_template.empty()) out.set("tokenizer.chat_template", d.chat_template);
  if (d.says_add_bos || d.add_bos) out.set("tokenizer.ggml.add_bos_token", d.add_bos);
  if (d.says_add_eos || d.add_eos) out.set("tokenizer.ggml.add_eos_token", d.add_eos);
}

TokenizerData tokenizer_from_gguf(const GgufMetadata& m) {
  TokenizerData d;
  const std::string model = m.string_at("tokenizer.ggml.model");
  if (model != "gpt2" && model != "llama")
    fail("{}: tokenizer.ggml.model {} is not supported; known are gpt2 and llama", m.where, model);
  const bool bpe = model == "gpt2";
  d.model = bpe ? TokenizerData::Model::Bpe : TokenizerData::Model::SentencePiece;
  d.tokens = m.strings_at("tokenizer.ggml.tokens");
  if (d.tokens.empty()) fail("{}: tokenizer.ggml.tokens is empty", m.where);
  d.types = read_types(m, d.tokens.size());
  if (bpe) {
    d.pre = m.string_or("tokenizer.ggml.pre", "");
    d.merges = m.strings_at("tokenizer.ggml.merges");
    d.ignore_merges = d.pre == "llama-bpe" || d.pre == "llama3" || d.pre == "llama-v3" || d.pre == "tekken";
  } else {
    d.byte_fallback = true;
    const auto scores = m.floats("tokenizer.ggml.scores");
    if (!scores || scores->size() != d.tokens.size())
      fail("{}: tokenizer.ggml.scores should have an entry for each token", m.where);
    d.scores = *scores;
  }
  d.bos = read_id(m, "bos_token_id", d.tokens.size());
  d.eos = read_id(m, "eos_token_id", d.tokens.size());
  d.unk = read_id(m, "unknown_token_id", d.tokens.size());
  d.pad = read_id(m, "padding_token_id", d.tokens.size());
  if (!bpe) d.unknown = d.unk;
  // llama.cpp's defaults: SentencePiece models want BOS and a space in front, and so do the Llama 3 family BOS.
  const bool bos = !bpe || d.pre == "llama-bpe" || d.pre == "llama3" || d.pre == "llama-v3" || d.pre == "tekken" ||
                   d.pre == "chameleon";
  d.add_bos = m.bool_or("tokenizer.ggml.add_bos_token", bos);
  d.add_eos = m.bool_or("tokenizer.ggml.add_eos_token", false);
  d.add_space_prefix = m.bool_or("tokenizer.ggml.add_space_prefix", !bpe);
  d.says_add_bos = m.find("tokenizer.ggml.add_bos_token") != nullptr;
  d.says_add_eos = m.find("tokenizer.ggml.add_eos_token") != nullptr;
  d.says_space_prefix = m.find("tokenizer.ggml.add_space_prefix") != nullptr;
  d.chat_template = m.string_or("tokenizer.chat_template", "");
  if (d.eos) d.end_of_generation.push_back(*d.eos);
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    if (d.types[i] == TokenType::Control && ends_an_answer(d.tokens[i]) && d.eos != static_cast<int32_t>(i)) {
      d.end_of_generation.push_back(static_cast<int32_t>(i));
    }
  }
  return d;
}

}  // namespace lowbit
