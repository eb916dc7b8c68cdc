#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_names.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace lowbit {
namespace {

/// Descriptions that were not in the source (a GGUF file names its pre-tokenizer; SentencePiece has its own rule).
Json effective_pre_tokenizer(const TokenizerData& d) {
  if (!d.pre_tokenizer.is_null() || d.from_tokenizer_json || d.model == TokenizerData::Model::SentencePiece)
    return d.pre_tokenizer;
  return pre_tokenizer_named(d.pre);
}

bool flag(const std::vector<bool>& flags, size_t id) { return id < flags.size() && flags[id]; }

}  // namespace

struct Tokenizer::Impl {
  TokenizerData data;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokens raw, normalized;  // matched before and after normalization

  explicit Impl(TokenizerData d)
      : data(std::move(d)), normalizer(data.normalizer), pre_tokenizer(effective_pre_tokenizer(data)), bpe(data) {
    if (data.types.size() != data.tokens.size()) {
      fail("tokenizer: {} tokens but {} token types", data.tokens.size(), data.types.size());
    }
    if (!data.scores.empty() && data.scores.size() != data.tokens.size()) {
      fail("tokenizer: {} tokens but {} scores", data.tokens.size(), data.scores.size());
    }
    for (const auto& id : {data.bos, data.eos, data.unk, data.pad, data.unknown}) {
      if (id && (*id < 0 || static_cast<size_t>(*id) >= data.tokens.size())) {
        fail("tokenizer: special token id {} is not in the vocabulary of {}", *id, data.tokens.size());
      }
    }
    for (size_t i = 0; i < data.tokens.size(); ++i) {
      const TokenType type = data.types[i];
      if (type != TokenType::Control && type != TokenType::UserDefined &&
          !(type == TokenType::Unknown && sentence_piece()))
        continue;
      AddedTokens& list = flag(data.normalized, i) ? normalized : raw;
      list.add(static_cast<int32_t>(i), data.tokens[i], flag(data.lstrip, i), flag(data.rstrip, i),
               flag(data.single_word, i));
    }
  }

  bool sentence_piece() const { return data.model == TokenizerData::Model::SentencePiece; }
  /// SentencePiece's own preparation of text, where no tokenizer.json describes it.
  bool plain_sentence_piece() const { return sentence_piece() && !data.from_tokenizer_json; }

  void encode_text(std::string_view text, bool begins, const std::function<bool(int32_t)>& allowed,
                   std::vector<int32_t>& out) const {
    std::string prepared(text);
    if (plain_sentence_piece()) {
      prepared = mark_spaces(prepared, begins);
    } else {
      prepared = normalizer.apply(std::move(prepared));
    }
    bool first = begins;
    normalized.split(
        prepared, allowed,
        [&](std::string_view part) {
          std::vector<Piece> pieces = {{std::string(part), first}};
          pre_tokenizer.split(pieces);
          for (const Piece& piece : pieces) bpe.encode(piece.text, out);
          first = false;
        },
        [&](int32_t id) {
          out.push_back(id);
          first = false;
        });
  }

  std::string mark_spaces(const std::string& text, bool begins) const {
    std::string out;
    if (begins && data.add_space_prefix) out += kSpaceMark;
    for (const char c : text) c == ' ' ? out.append(kSpaceMark) : out.append(1, c);
    return out;
  }

  std::string bytes_of(int32_t id) const {
    const std::string& token = data.tokens[static_cast<size_t>(id)];
    const TokenType type = data.types[static_cast<size_t>(id)];
    if (type == TokenType::Control || type == TokenType::UserDefined || type == TokenType::Unknown) return token;
    if (!sentence_piece()) return unspell(token).value_or(token);
    if (type == TokenType::Byte && token.size() == 6)
      return {static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16))};
    std::string out;
    for (size_t at = 0; at < token.size();) {
      if (token.compare(at, kSpaceMark.size(), kSpaceMark) == 0) {
        out += ' ';
        at += kSpaceMark.size();
      } else {
        out += token[at++];
      }
    }
    return out;
  }
};

Tokenizer::Tokenizer(TokenizerData data) : impl_(std::make_unique<Impl>(std::move(data))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
const TokenizerData& Tokenizer::data() const { return impl_->data; }
int64_t Tokenizer::size() const { return static_cast<int64_t>(impl_->data.tokens.size()); }

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  const TokenizerData& d = impl_->data;
  const std::string valid = to_valid_utf8(text);
  std::vector<int32_t> out;
  if (add_special && d.add_bos && d.bos) out.push_back(*d.bos);
  const auto allowed = [&](int32_t id) {
    return parse_special || d.types[static_cast<size_t>(id)] == TokenType::UserDefined;
  };
  // A space is put before the text, and in llama.cpp's reading of SentencePiece after each special token too.
  bool begins = true;
  impl_->raw.split(
      valid, allowed,
      [&](std::string_view part) {
        impl_->encode_text(part, begins, allowed, out);
        begins = false;
      },
      [&](int32_t id) {
        out.push_back(id);
        begins = impl_->plain_sentence_piece();
      });
  if (add_special && d.add_eos && d.eos) out.push_back(*d.eos);
  return out;
}

std::string Tokenizer::piece(int32_t id, bool special) const {
  if (id < 0 || id >= size()) return "";
  if (!special && impl_->data.types[static_cast<size_t>(id)] == TokenType::Control) return "";
  return impl_->bytes_of(id);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += piece(id, special);
  const TokenizerData& d = impl_->data;
  const bool prefixed = impl_->plain_sentence_piece() ? d.add_space_prefix : impl_->sentence_piece();
  if (prefixed && bytes.starts_with(' ')) bytes.erase(0, 1);
  return to_valid_utf8(bytes);
}

std::string Utf8Stream::push(std::string_view bytes) {
  waiting_ += bytes;
  size_t whole = 0;
  for (size_t at = 0; at < waiting_.size();) {
    const int n = char_length(std::string_view(waiting_).substr(at));
    if (n < 0) break;
    at += static_cast<size_t>(std::max(n, 1));
    whole = at;
  }
  const std::string out = to_valid_utf8(std::string_view(waiting_).substr(0, whole));
  waiting_.erase(0, whole);
  return out;
}

std::string Utf8Stream::flush() { return to_valid_utf8(std::exchange(waiting_, {})); }

}  // namespace lowbit
