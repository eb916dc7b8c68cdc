// Tokenizers of Hugging Face directories.
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "text/pre_names.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 21;
constexpr int64_t kMostPadding = int64_t{1} << 18;  // ids without a token: a small file must not ask for much memory
constexpr float kAddedScore = -1000;                // of tokens that SentencePiece did not train (llama.cpp's number)

Json read_json(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return nullptr;
  return parse_json(read_text_file(path), path.string());
}

// Added tokens that are control tokens although their file does not call them special. (llama.cpp, conversion/base.py.)
bool looks_special(const std::string& token) {
  const auto framed = [&](std::string_view begin, std::string_view end) {
    return token.size() >= begin.size() + end.size() && token.starts_with(begin) && token.ends_with(end);
  };
  return token == "<pad>" || token == "<mask>" || token == "<2mass>" || token == "[@BOS@]" || framed("<|", "|>") ||
         framed("<｜", "｜>") || framed("<unused", ">");
}

class Reader {
 public:
  Reader(std::filesystem::path folder, int64_t vocab_size) : folder_(std::move(folder)), vocab_size_(vocab_size) {}

  TokenizerData read() {
    config_where_ = (folder_ / "tokenizer_config.json").string();
    config_ = read_json(config_where_);
    if (config_.is_null()) config_ = Json::object();
    if (!config_.is_object()) fail("{}: should be a JSON object", config_where_);
    const auto json_file = folder_ / "tokenizer.json", model_file = folder_ / "tokenizer.model";
    if (std::filesystem::exists(json_file)) {
      where_ = json_file.string();
      read_tokenizer_json(read_json(json_file));
      if (data_.model == TokenizerData::Model::SentencePiece && std::filesystem::exists(model_file))
        take_scores(read_sentencepiece_model(model_file));
    } else if (std::filesystem::exists(model_file)) {
      where_ = model_file.string();
      read_tokenizer_model(read_sentencepiece_model(model_file));
    } else {
      fail("{}: there is neither tokenizer.json nor tokenizer.model", folder_.string());
    }
    read_chat_template();
    return std::move(data_);
  }

 private:
  void read_tokenizer_json(const Json& json) {
    if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
      fail("{}: there is no \"model\"", where_);
    read_model(json);
    const Json& added = member(json, "added_tokens");
    if (!added.is_null() && !added.is_array()) fail("{}: \"added_tokens\" should be an array", where_);
    make_room(member(json["model"], "vocab").size() + added.size());
    read_vocabulary(json["model"]);
    read_merges(json["model"]);
    for (const Json& token : added) add_token(json_at<int64_t>(token, "id", where_), token);
    pad_vocabulary();
    for (const Json& token : added) set_flags(token["id"].get<int64_t>(), token);
    read_specials();
    read_post_processor(json);
  }

  // tokenizer.model, and the tokens that were added to it later. (llama.cpp, conversion/base.py.)
  void read_tokenizer_model(SentencePieceModel model) {
    data_.model = TokenizerData::Model::SentencePiece;
    data_.byte_fallback = model.byte_fallback;
    data_.add_space_prefix = model.add_dummy_prefix;
    const auto file = folder_ / "added_tokens.json";
    const Json added = read_json(file);
    const Json& decoder = member(config_, "added_tokens_decoder");
    if (!decoder.is_null() && !decoder.is_object())
      fail("{}: \"added_tokens_decoder\" should be an object", config_where_);
    make_room(model.tokens.size() + added.size() + decoder.size());
    for (size_t i = 0; i < model.tokens.size(); ++i) put(static_cast<int64_t>(i), model.tokens[i], model.types[i]);
    if (!added.is_null()) {
      for (const auto& [token, id] : added.items())
        put(json_at<int64_t>(added, token, file.string()), token, TokenType::UserDefined);
    }
    for (const auto& [id, token] : decoder.items()) add_token(parse_id(id), token);
    pad_vocabulary();
    for (const auto& [id, token] : decoder.items()) set_flags(parse_id(id), token);
    model.scores.resize(data_.tokens.size(), kAddedScore);
    data_.scores = std::move(model.scores);
    read_specials();
    for (const auto& [id, found] : {std::pair(&data_.bos, model.bos), std::pair(&data_.eos, model.eos),
                                    std::pair(&data_.unk, model.unk), std::pair(&data_.pad, model.pad)})
      if (!*id) *id = found;
    if (data_.eos && data_.end_of_generation.empty()) data_.end_of_generation.push_back(*data_.eos);
    data_.unknown = data_.unk;
    data_.add_bos = data_.bos && json_or<bool>(config_, "add_bos_token", true, config_where_);
    data_.add_eos = data_.eos && json_or<bool>(config_, "add_eos_token", false, config_where_);
    data_.says_add_eos = member(config_, "add_eos_token").is_boolean();
  }

  int64_t parse_id(const std::string& text) const {
    int64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size())
      fail("{}: added_tokens_decoder: \"{}\" is no token id", config_where_, text);
    return id;
  }

  // What tokenizer.json leaves out: llama.cpp merges by scores.
  void take_scores(const SentencePieceModel& model) {
    if (model.tokens.size() > data_.tokens.size() ||
        !std::equal(model.tokens.begin(), model.tokens.end(), data_.tokens.begin()))
      return;  // not of one origin: the scores are then made from the merges
    data_.scores = model.scores;
    data_.scores.resize(data_.tokens.size(), kAddedScore);
  }

  const Json& member(const Json& object, const char* key) const {
    static const Json null;
    const auto found = object.find(key);
    return found == object.end() ? null : *found;
  }

  // The first step of that type, `json` itself or one in its list; nullptr if there is none.
  const Json* find_type(const Json& json, const char* list, std::string_view type, int depth = 0) const {
    if (!json.is_object() || depth > 8) return nullptr;
    if (json_or<std::string>(json, "type", "", where_) == type) return &json;
    const Json& steps = member(json, list);
    if (!steps.is_array()) return nullptr;
    for (const Json& step : steps)
      if (const Json* found = find_type(step, list, type, depth + 1)) return found;
    return nullptr;
  }

  void read_model(const Json& json) {
    const Json& model = json["model"];
    const std::string type = json_or<std::string>(model, "type", "BPE", where_);
    if (type != "BPE") fail("{}: the model \"{}\" is not supported, only BPE is", where_, type);
    if (json_or<double>(model, "dropout", 0, where_) != 0) fail("{}: dropout is not supported", where_);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!json_or<std::string>(model, key, "", where_).empty()) fail("{}: {} is not supported", where_, key);
    data_.normalizer = member(json, "normalizer");
    data_.pre_tokenizer = member(json, "pre_tokenizer");
    data_.ignore_merges = json_or<bool>(model, "ignore_merges", false, where_);
    data_.fuse_unk = json_or<bool>(model, "fuse_unk", false, where_);
    data_.byte_fallback = json_or<bool>(model, "byte_fallback", false, where_);
    if (find_type(data_.pre_tokenizer, "pretokenizers", "ByteLevel") ||
        find_type(data_.normalizer, "normalizers", "ByteLevel")) {
      data_.model = TokenizerData::Model::Bpe;
      data_.pre = name_of_pre_tokenizer(data_.pre_tokenizer, data_.ignore_merges);
    } else if (data_.byte_fallback) {
      data_.model = TokenizerData::Model::SentencePiece;
      data_.add_space_prefix = prefixes_space();
    } else {
      fail("{}: a BPE model with neither ByteLevel nor byte_fallback is not supported", where_);
    }
  }

  bool prefixes_space() const {
    if (find_type(data_.normalizer, "normalizers", "Prepend")) return true;
    const Json* metaspace = find_type(data_.pre_tokenizer, "pretokenizers", "Metaspace");
    return metaspace && json_or<std::string>(*metaspace, "prepend_scheme", "always", where_) != "never";
  }

  // For the ids of as many tokens as the file names.
  void make_room(size_t named) {
    const int64_t most = std::min(static_cast<int64_t>(named) + kMostPadding, kMostTokens);
    if (vocab_size_ > most)
      fail("{}: a vocabulary of {} tokens is too large for the {} that {} names", folder_.string(), vocab_size_, named,
           where_);
    room_ = vocab_size_ > 0 ? vocab_size_ : most;
  }

  void put(int64_t id, const std::string& token, TokenType type) {
    if (id < 0 || id >= room_)
      fail("{}: the token \"{}\" has id {}, and there is room for {}", where_, token, id, room_);
    const auto at = static_cast<size_t>(id);
    if (at >= data_.tokens.size()) {
      data_.tokens.resize(at + 1);
      data_.types.resize(at + 1, TokenType::Unused);
    }
    data_.tokens[at] = token;
    data_.types[at] = type;
  }

  void read_vocabulary(const Json& model) {
    const Json& vocab = member(model, "vocab");
    if (!vocab.is_object() || vocab.empty()) fail("{}: \"vocab\" should be an object of tokens and ids", where_);
    const bool sentencepiece = data_.model == TokenizerData::Model::SentencePiece;
    const std::string unk = json_or<std::string>(model, "unk_token", "", where_);
    for (const auto& [token, number] : vocab.items()) {
      const auto id = json_at<int64_t>(vocab, token, where_);
      const bool byte = sentencepiece && token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') &&
                        token.find_first_not_of("0123456789ABCDEFabcdef", 3) == 5;
      if (id >= 0 && static_cast<size_t>(id) < data_.types.size() && data_.types[id] != TokenType::Unused)
        fail("{}: the tokens \"{}\" and \"{}\" both have id {}", where_, data_.tokens[id], token, id);
      put(id, token, byte ? TokenType::Byte : TokenType::Normal);
      if (!unk.empty() && token == unk) data_.unknown = static_cast<int32_t>(id);
    }
    if (!unk.empty() && !data_.unknown) fail("{}: the unk_token \"{}\" is not in the vocabulary", where_, unk);
  }

  void read_merges(const Json& model) {
    const Json& merges = member(model, "merges");
    if (!merges.is_array()) fail("{}: \"merges\" should be an array", where_);
    data_.merges.reserve(merges.size());
    for (const Json& merge : merges) {
      if (merge.is_string()) {
        data_.merges.push_back(merge.get<std::string>());
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        const auto left = merge[0].get<std::string>(), right = merge[1].get<std::string>();
        if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
          fail("{}: the merge \"{}\" + \"{}\" holds a space, which GGUF cannot express", where_, left, right);
        data_.merges.push_back(left + ' ' + right);
      } else {
        fail("{}: merge {} should be a string or a pair of strings", where_, data_.merges.size());
      }
    }
  }

  void add_token(int64_t id, const Json& token) {
    const auto content = json_at<std::string>(token, "content", where_);
    const bool special = json_or<bool>(token, "special", false, where_) || looks_special(content);
    const bool from_json = data_.scores.empty() && !data_.merges.empty();
    if (from_json && id >= 0 && static_cast<size_t>(id) < data_.types.size() && data_.types[id] != TokenType::Unused &&
        data_.tokens[id] != content)
      fail("{}: the tokens \"{}\" and \"{}\" both have id {}", where_, data_.tokens[id], content, id);
    put(id, content, special ? TokenType::Control : TokenType::UserDefined);
  }

  void pad_vocabulary() {
    const size_t size = std::max(data_.tokens.size(), static_cast<size_t>(std::max<int64_t>(vocab_size_, 0)));
    for (size_t i = data_.tokens.size(); i < size; ++i) put(static_cast<int64_t>(i), "", TokenType::Unused);
    for (size_t i = 0; i < size; ++i)
      if (data_.types[i] == TokenType::Unused && data_.tokens[i].empty()) data_.tokens[i] = fmt::format("[PAD{}]", i);
    for (auto* flags : {&data_.lstrip, &data_.rstrip, &data_.single_word, &data_.normalized})
      flags->assign(size, false);
  }

  void set_flags(int64_t id, const Json& token) {
    const auto at = static_cast<size_t>(id);
    data_.lstrip[at] = json_or<bool>(token, "lstrip", false, where_);
    data_.rstrip[at] = json_or<bool>(token, "rstrip", false, where_);
    data_.single_word[at] = json_or<bool>(token, "single_word", false, where_);
    data_.normalized[at] = json_or<bool>(token, "normalized", true, where_);
  }

  std::optional<int32_t> added_id(const std::string& content) const {
    for (size_t i = 0; i < data_.tokens.size(); ++i)
      if (data_.tokens[i] == content &&
          (data_.types[i] == TokenType::Control || data_.types[i] == TokenType::UserDefined))
        return static_cast<int32_t>(i);
    return std::nullopt;
  }

  // "bos_token" as a string or as an object with "content".
  std::string token_text(const Json& json, const std::string& key) const {
    const Json& entry = json.is_object() ? member(json, key.c_str()) : json;
    if (entry.is_string()) return entry.get<std::string>();
    if (entry.is_object()) return json_or<std::string>(entry, "content", "", config_where_);
    return {};
  }

  void set_id(std::optional<int32_t>& id, const Json& json, const std::string& key) const {
    const Json& value = json.is_object() ? member(json, key.c_str()) : json;
    if (id || !value.is_number_integer()) return;
    const auto n = value.get<int64_t>();
    if (n >= 0 && n < static_cast<int64_t>(data_.tokens.size())) id = static_cast<int32_t>(n);
  }

  void read_specials() {
    const Json map = read_json(folder_ / "special_tokens_map.json");
    const Json config = read_json(folder_ / "config.json");
    const Json generation = read_json(folder_ / "generation_config.json");
    const auto find = [&](const char* name, std::optional<int32_t>& id) {
      for (const Json* source : {const_cast<const Json*>(&config_), &map}) {
        const std::string text = token_text(*source, fmt::format("{}_token", name));
        if (!text.empty() && !id) id = added_id(text);
      }
      set_id(id, config, fmt::format("{}_token_id", name));
      set_id(id, generation, fmt::format("{}_token_id", name));
    };
    find("bos", data_.bos);
    find("eos", data_.eos);
    find("unk", data_.unk);
    find("pad", data_.pad);
    if (data_.eos) data_.end_of_generation.push_back(*data_.eos);
    for (const Json* source : {&generation, &config}) {
      if (!source->is_object()) continue;
      const Json& ends = member(*source, "eos_token_id");
      for (const Json& end : ends.is_array() ? ends : Json::array({ends})) {
        std::optional<int32_t> id;
        set_id(id, end, "");
        if (id && std::find(data_.end_of_generation.begin(), data_.end_of_generation.end(), *id) ==
                      data_.end_of_generation.end())
          data_.end_of_generation.push_back(*id);
      }
    }
    add_known_ends(data_);
    if (const Json& prefix = member(config_, "add_prefix_space"); prefix.is_boolean()) {
      data_.says_space_prefix = true;
      if (data_.model == TokenizerData::Model::Bpe) data_.add_space_prefix = prefix.get<bool>();
    }
  }

  void read_post_processor(const Json& json) {
    const Json& top = member(json, "post_processor");
    bool states_bos = false;
    if (!top.is_null()) {
      const Json& list = member(top, "processors");
      for (const Json& processor : list.is_array() ? list : Json::array({top})) {
        const auto type = json_at<std::string>(processor, "type", where_);
        if (type == "ByteLevel") {
          states_bos = data_.says_add_eos = true;
        } else if (type == "TemplateProcessing") {
          read_template(processor, states_bos);
        } else {
          fail("{}: the post_processor \"{}\" is not supported", where_, type);
        }
      }
    }
    if (!states_bos) data_.add_bos = json_or<bool>(config_, "add_bos_token", false, config_where_);
    if (!data_.says_add_eos && member(config_, "add_eos_token").is_boolean()) {
      data_.add_eos = config_["add_eos_token"].get<bool>();
      data_.says_add_eos = true;
    }
    if (data_.add_bos && !data_.bos) fail("{}: add_bos_token is true, and there is no bos_token", config_where_);
    if (data_.add_eos && !data_.eos) fail("{}: add_eos_token is true, and there is no eos_token", config_where_);
  }

  // Which special tokens stand before and after a single text.
  void read_template(const Json& processor, bool& states_bos) {
    const Json& single = member(processor, "single");
    if (!single.is_array()) fail("{}: TemplateProcessing has no \"single\"", where_);
    bool after = false;
    for (const Json& part : single) {
      if (!part.is_object()) fail("{}: TemplateProcessing: a part of \"single\" should be an object", where_);
      if (part.contains("Sequence")) {
        after = true;
        continue;
      }
      const auto text = json_at<std::string>(member(part, "SpecialToken"), "id", where_);
      const std::optional<int32_t> id = added_id(text);
      std::optional<int32_t>& expected = after ? data_.eos : data_.bos;
      bool& adds = after ? data_.add_eos : data_.add_bos;
      if (!expected) expected = id;
      if (!id || adds || *expected != *id)
        fail("{}: TemplateProcessing puts \"{}\" {} the text, which is not the {} token alone", where_, text,
             after ? "after" : "before", after ? "eos" : "bos");
      adds = true;
      (after ? data_.says_add_eos : states_bos) = true;
    }
  }

  void read_chat_template() {
    const auto file = folder_ / "chat_template.jinja";
    Json chat = member(config_, "chat_template");
    if (chat.is_null() && std::filesystem::exists(file)) chat = read_text_file(file, uint64_t{1} << 24);
    if (chat.is_null()) {
      const Json old = read_json(folder_ / "chat_template.json");
      if (old.is_object()) chat = member(old, "chat_template");
    }
    if (chat.is_string()) {
      data_.chat_template = chat.get<std::string>();
    } else if (chat.is_array()) {
      for (const Json& named : chat)
        if (json_or<std::string>(named, "name", "", config_where_) == "default")
          data_.chat_template = json_at<std::string>(named, "template", config_where_);
    }
  }

  std::filesystem::path folder_;
  int64_t vocab_size_;
  int64_t room_ = 0;  // ids are below it
  std::string where_, config_where_;
  Json config_;
  TokenizerData data_;
};

}  // namespace

TokenizerData read_hf_tokenizer(const std::filesystem::path& folder, int64_t vocab_size) {
  return Reader(folder, vocab_size).read();
}

}  // namespace lowbit
