// Text to token ids and back, exactly as the model was trained with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace lowbit {

enum class TokenType : uint8_t { Normal = 1, Unknown, Control, UserDefined, Unused, Byte };  ///< GGUF's numbers

/// Everything that defines a tokenizer, whatever file it came from. Plain data: written to GGUF, compared in tests.
struct TokenizerData {
  enum class Model { Bpe, SentencePiece };  ///< byte-level BPE ("gpt2" in GGUF) or SentencePiece BPE ("llama")
  Model model = Model::Bpe;
  std::vector<std::string> tokens;  ///< by id; Bpe: in the byte-to-unicode spelling; SentencePiece: with U+2581
  std::vector<TokenType> types;
  std::vector<float> scores;        ///< SentencePiece only; may be empty if there are merges
  std::vector<std::string> merges;  ///< "left right", best first; SentencePiece: empty if only scores are known
  std::string pre;                  ///< GGUF's name of the pre-tokenizer ("llama-bpe"), empty if it has none
  Json normalizer, pre_tokenizer;   ///< as in tokenizer.json; null if the source was a GGUF or tokenizer.model
  bool ignore_merges = false;       ///< Bpe: a pre-token that is a token as a whole is not merged
  std::vector<bool> lstrip, rstrip, single_word, normalized;  ///< added tokens' flags by id (false where not added)
  std::optional<int32_t> bos, eos, unk, pad;
  std::vector<int32_t> end_of_generation;  ///< ids that end an answer: eos and what generation_config.json adds
  bool add_bos = false, add_eos = false, add_space_prefix = false;
  bool says_add_eos = false, says_space_prefix = false;  ///< the source says so itself: written to GGUF again
  std::optional<int32_t> unknown;  ///< what a character becomes that no token spells; without it, nothing
  bool fuse_unk = false;           ///< neighbouring unknown characters become one token
  bool byte_fallback = false;      ///< ... or the byte tokens "<0x0A>", if the vocabulary has them
  std::string chat_template;       ///< Jinja, empty if none
};

/// Reads tokenizer.json (or tokenizer.model), tokenizer_config.json, generation_config.json and special_tokens_map.json
/// of a Hugging Face directory; `vocab_size` from config.json: ids up to it are padded as llama.cpp does.
TokenizerData read_hf_tokenizer(const std::filesystem::path& folder, int64_t vocab_size);

/// Writes tokenizer.json and tokenizer_config.json that the tokenizers library loads and that give equal ids.
void write_hf_tokenizer(const TokenizerData& data, const std::filesystem::path& folder);

/// Adds to end_of_generation the control tokens whose names say that they end an answer ("<|eot_id|>"): models are
/// published whose EOS is not what their chat template ends with. (llama.cpp goes by the same names.)
void add_known_ends(TokenizerData& data);

class Tokenizer {
 public:
  /// Throws Error for a tokenizer that cannot be reproduced exactly (never a silent approximation).
  explicit Tokenizer(TokenizerData data);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  const TokenizerData& data() const;
  int64_t size() const;

  /// add_special: BOS/EOS as the model wants them. parse_special: special tokens' text in `text` becomes their ids.
  /// Any bytes are accepted; what is not UTF-8 is tokenized as the `tokenizers` library does its lossy decoding.
  std::vector<int32_t> encode(std::string_view text, bool add_special, bool parse_special) const;
  /// Bytes of one token (may be part of a UTF-8 character). Control tokens give nothing unless `special`.
  std::string piece(int32_t id, bool special = false) const;
  std::string decode(std::span<const int32_t> ids, bool special = false) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Joins pieces into valid UTF-8: bytes of an unfinished character wait for the next piece; invalid ones become U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  ///< what can be shown now
  std::string flush();                       ///< what was waiting, replaced by U+FFFD if unfinished

 private:
  std::string waiting_;
};

}  // namespace lowbit
