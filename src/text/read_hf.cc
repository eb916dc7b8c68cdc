// Reading the tokenizer files of a Hugging Face directory.
#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "text/pre_names.h"
#include "text/tokenizer.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

Json read_json(const fs::path& path) {
  return fs::exists(path) ? parse_json(read_text_file(path), path.string()) : Json::object();
}

Json member(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : Json();
}

class Reader {
 public:
  Reader(const fs::path& folder, int64_t vocab_size)
      : folder_(folder), where_((folder / "tokenizer.json").string()), vocab_size_(vocab_size) {}

  TokenizerData read() {
    const Json json = parse_json(read_text_file(where_), where_);
    data_.from_tokenizer_json = true;
    data_.normalizer = member(json, "normalizer");
    data_.pre_tokenizer = member(json, "pre_tokenizer");
    read_model(member(json, "model"));
    read_added(member(json, "added_tokens"));
    pad_vocabulary();
    data_.pre = data_.model == TokenizerData::Model::Bpe ? name_of_pre_tokenizer(data_.pre_tokenizer) : "";
    read_config(read_json(folder_ / "tokenizer_config.json"), read_json(folder_ / "special_tokens_map.json"));
    read_generation(read_json(folder_ / "generation_config.json"), read_json(folder_ / "config.json"));
    read_post_processor(member(json, "post_processor"));
    return std::move(data_);
  }

 private:
  void read_model(const Json& model) {
    const auto type = json_or<std::string>(model, "type", "BPE", where_ + ", model");
    if (type != "BPE") fail("{}: model type {} is not supported; known is BPE", where_, type);
    const Json vocab = member(model, "vocab");
    if (!vocab.is_object() || vocab.empty()) fail("{}: \"vocab\" should be an object of tokens", where_);
    for (const auto& [token, id] : vocab.items()) place(token, id, TokenType::Normal);
    data_.byte_fallback = json_or<bool>(model, "byte_fallback", false, where_);
    data_.fuse_unk = json_or<bool>(model, "fuse_unk", false, where_);
    data_.ignore_merges = json_or<bool>(model, "ignore_merges", false, where_);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!json_or<std::string>(model, key, "", where_).empty()) fail("{}: \"{}\" is not supported", where_, key);
    }
    if (json_or<double>(model, "dropout", 0, where_) != 0) fail("{}: \"dropout\" makes token ids random", where_);
    if (data_.byte_fallback) mark_byte_tokens();
    const Json merges = member(model, "merges");
    if (!merges.is_array()) fail("{}: \"merges\" should be a list", where_);
    for (const Json& m : merges) {
      const bool pair = m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string();
      if (!pair && !m.is_string()) fail("{}: a merge should be a string or a pair of strings", where_);
      data_.merges.push_back(pair ? m[0].get<std::string>() + " " + m[1].get<std::string>() : m.get<std::string>());
    }
    const auto unknown = json_or<std::string>(model, "unk_token", "", where_);
    if (!unknown.empty()) data_.unknown = data_.unk = id_of(unknown);
  }

  void mark_byte_tokens() {
    data_.model = TokenizerData::Model::SentencePiece;
    for (size_t i = 0; i < data_.tokens.size(); ++i) {
      const std::string& t = data_.tokens[i];
      if (t.size() == 6 && t.starts_with("<0x") && t.ends_with('>')) data_.types[i] = TokenType::Byte;
    }
  }

  /// Puts a token at its id; ids may come in any order but must be below a bound that the file itself justifies.
  void place(const std::string& token, const Json& id, TokenType type) {
    constexpr int64_t kMostTokens = int64_t{1} << 24;
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMostTokens) {
      fail("{}: token \"{}\" has the id {}; it should be an integer from 0 to {}", where_, token, id.dump(),
           kMostTokens - 1);
    }
    const auto at = static_cast<size_t>(id.get<int64_t>());
    if (at >= data_.tokens.size()) {
      data_.tokens.resize(at + 1);
      data_.types.resize(at + 1, TokenType::Unused);
      present_.resize(at + 1);
    }
    data_.tokens[at] = token;
    data_.types[at] = type;
    present_[at] = true;
    ids_[token] = static_cast<int32_t>(at);
  }

  void read_added(const Json& added) {
    if (added.is_null()) return;
    if (!added.is_array()) fail("{}: \"added_tokens\" should be a list", where_);
    for (const Json& t : added) {
      const std::string place_name = where_ + ", added_tokens";
      const auto content = json_at<std::string>(t, "content", place_name);
      const bool special = json_or<bool>(t, "special", false, place_name);
      place(content, member(t, "id"), special ? TokenType::Control : TokenType::UserDefined);
      const auto id = static_cast<size_t>(json_at<int64_t>(t, "id", place_name));
      for (auto* flags : {&data_.lstrip, &data_.rstrip, &data_.single_word, &data_.normalized}) {
        if (flags->size() <= id) flags->resize(id + 1);
      }
      data_.lstrip[id] = json_or<bool>(t, "lstrip", false, place_name);
      data_.rstrip[id] = json_or<bool>(t, "rstrip", false, place_name);
      data_.single_word[id] = json_or<bool>(t, "single_word", false, place_name);
      data_.normalized[id] = json_or<bool>(t, "normalized", !special, place_name);
    }
  }

  /// Ids that no token has, up to the model's own vocabulary: named as llama.cpp's converter names them.
  void pad_vocabulary() {
    if (static_cast<int64_t>(data_.tokens.size()) > vocab_size_ && vocab_size_ > 0) {
      fail("{}: has token ids up to {}, but config.json says that there are {}", where_, data_.tokens.size() - 1,
           vocab_size_);
    }
    data_.tokens.resize(static_cast<size_t>(std::max<int64_t>(vocab_size_, static_cast<int64_t>(data_.tokens.size()))));
    data_.types.resize(data_.tokens.size(), TokenType::Unused);
    present_.resize(data_.tokens.size());
    for (size_t i = 0; i < data_.tokens.size(); ++i) {
      if (!present_[i]) data_.tokens[i] = fmt::format("[PAD{}]", i);
    }
  }

  std::optional<int32_t> id_of(const std::string& token) const {
    const auto found = ids_.find(token);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

  /// A token's name as a string, or as the object of an added token.
  std::optional<int32_t> named(const Json& config, const Json& map, const char* key) const {
    for (const Json& source : {member(config, key), member(map, key)}) {
      if (source.is_string()) return id_of(source);
      if (source.is_object()) return id_of(json_or<std::string>(source, "content", "", where_));
    }
    return std::nullopt;
  }

  void read_config(const Json& config, const Json& map) {
    data_.bos = named(config, map, "bos_token");
    data_.eos = named(config, map, "eos_token");
    if (const auto unk = named(config, map, "unk_token")) data_.unk = unk;
    data_.pad = named(config, map, "pad_token");
    const std::string place_name = (folder_ / "tokenizer_config.json").string();
    if (config.contains("add_prefix_space") && config["add_prefix_space"].is_boolean()) {
      data_.add_space_prefix = config["add_prefix_space"];
      data_.says_space_prefix = true;
    }
    if (config.contains("add_bos_token") && config["add_bos_token"].is_boolean()) {
      data_.add_bos = config["add_bos_token"];
      data_.says_add_bos = true;
    }
    if (config.contains("add_eos_token") && config["add_eos_token"].is_boolean()) {
      data_.add_eos = config["add_eos_token"];
      data_.says_add_eos = true;
    }
    read_template(config, place_name);
  }

  void read_template(const Json& config, const std::string& place_name) {
    const fs::path file = folder_ / "chat_template.jinja";
    if (fs::exists(file)) {
      data_.chat_template = read_text_file(file);
      return;
    }
    const Json found = member(config, "chat_template");
    if (found.is_string()) data_.chat_template = found;
    if (!found.is_array()) return;
    for (const Json& item : found) {  // several named ones
      if (json_or<std::string>(item, "name", "", place_name) == "default") {
        data_.chat_template = json_or<std::string>(item, "template", "", place_name);
      }
    }
  }

  void read_generation(const Json& generation, const Json& config) {
    if (!data_.bos) data_.bos = listed(config, "bos_token_id");
    if (!data_.eos) data_.eos = listed(config, "eos_token_id");
    if (data_.eos) data_.end_of_generation.push_back(*data_.eos);
    const Json ends = member(generation, "eos_token_id");
    for (const Json& id : ends.is_array() ? ends : Json::array({ends})) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
          id.get<int64_t>() >= static_cast<int64_t>(data_.tokens.size()))
        continue;
      const auto value = id.get<int32_t>();
      auto& list = data_.end_of_generation;
      if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
    }
  }

  std::optional<int32_t> listed(const Json& config, const char* key) const {
    const Json id = member(config, key);
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() >= static_cast<int64_t>(data_.tokens.size()))
      return std::nullopt;
    return id.get<int32_t>();
  }

  /// What the library itself adds around a text is decided by the post-processor alone.
  void read_post_processor(const Json& post) {
    data_.add_bos = data_.add_eos = false;
    if (post.is_null()) return;
    const std::string place_name = where_ + ", post_processor";
    const auto type = json_at<std::string>(post, "type", place_name);
    if (type == "Sequence") {
      bool bos = false, eos = false;
      for (const Json& item : member(post, "processors")) {
        read_post_processor(item);
        bos = bos || data_.add_bos;
        eos = eos || data_.add_eos;
      }
      data_.add_bos = bos;
      data_.add_eos = eos;
    } else if (type == "TemplateProcessing") {
      read_template_processing(member(post, "single"), place_name);
    } else if (type != "ByteLevel") {
      fail("{}: {} is not supported", place_name, type);
    }
  }

  void read_template_processing(const Json& single, const std::string& place_name) {
    bool after = false;
    for (const Json& item : single) {
      if (item.contains("Sequence")) {
        after = true;
        continue;
      }
      const auto id = id_of(json_at<std::string>(member(item, "SpecialToken"), "id", place_name));
      if (!after && id && id == data_.bos) {
        data_.add_bos = true;
      } else if (after && id && id == data_.eos) {
        data_.add_eos = true;
      } else {
        fail("{}: adds a token that is neither BOS before the text nor EOS after it", place_name);
      }
    }
  }

  fs::path folder_;
  std::string where_;
  int64_t vocab_size_;
  TokenizerData data_;
  std::vector<bool> present_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace

TokenizerData read_hf_tokenizer(const fs::path& folder, int64_t vocab_size) {
  if (fs::exists(folder / "tokenizer.json")) return Reader(folder, vocab_size).read();
  fail("{}: there is no tokenizer.json", folder.string());
}

}  // namespace lowbit
