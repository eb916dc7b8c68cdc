#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/pre_names.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

std::string byte_token(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};

bool is_added(TokenType type) {
  return type == TokenType::Control || type == TokenType::UserDefined || type == TokenType::Unknown;
}

// Whether a space mark follows another character.
bool mark_inside(const std::string& token) {
  size_t at = 0;
  while (token.compare(at, kSpaceMark.size(), kSpaceMark) == 0) at += kSpaceMark.size();
  return token.find(kSpaceMark, at) != std::string::npos;
}

}  // namespace

void add_known_ends(TokenizerData& data) {
  constexpr std::string_view names[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "[e~[",
                                        "<｜end▁of▁sentence｜>"};
  std::vector<int32_t>& ends = data.end_of_generation;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (data.types[i] == TokenType::Control &&
        std::find(std::begin(names), std::end(names), data.tokens[i]) != std::end(names) &&
        std::find(ends.begin(), ends.end(), id) == ends.end())
      ends.push_back(id);
  }
}

struct Tokenizer::Impl {
  TokenizerData data;
  std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>> ids;
  MergeTable merges;
  Normalizer normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<AddedTokens> raw_tokens, normalized_tokens;  // found before and after the normalizer
  std::array<int32_t, 256> byte_ids;                           // SentencePiece: -1 where there is no byte token
  std::vector<std::string> pieces;                             // by id: the bytes that decoding gives

  bool words_begin_with_marks = false;  // SentencePiece: no token has a mark after anything but a mark

  explicit Impl(TokenizerData d);
  void check() const;
  void read_merges();
  void sort_added();
  void make_pieces();

  int32_t id_of(std::string_view token) const {
    const auto found = ids.find(token);
    return found == ids.end() ? -1 : found->second;
  }
  void encode_part(std::string_view text, bool starts_text, const std::function<bool(int32_t)>& wanted,
                   std::vector<int32_t>& out) const;
  void encode_pieces(std::string_view text, bool starts_text, std::vector<int32_t>& out) const;
  void encode_by_rank(std::string_view piece, std::vector<int32_t>& out) const;
  void encode_by_score(std::string_view text, std::vector<int32_t>& out) const;
  std::string mark_spaces(std::string_view text) const;
  void cut_at_marks(Pieces& cut) const;
};

Tokenizer::Impl::Impl(TokenizerData d) : data(std::move(d)) {
  check();
  ids.reserve(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) ids.insert_or_assign(data.tokens[i], static_cast<int32_t>(i));
  read_merges();
  for (int b = 0; b < 256; ++b) byte_ids[b] = id_of(byte_token(static_cast<unsigned char>(b)));
  normalizer = make_normalizer(data.normalizer, "tokenizer");
  if (data.pre_tokenizer.is_null() && !data.pre.empty() && data.model == TokenizerData::Model::Bpe) {
    pre_tokenizer = make_pre_tokenizer(pre_tokenizer_of_name(data.pre), "tokenizer");
  } else {
    pre_tokenizer = make_pre_tokenizer(data.pre_tokenizer, "tokenizer");
  }
  words_begin_with_marks = data.model == TokenizerData::Model::SentencePiece && id_of(kSpaceMark) >= 0 &&
                           std::none_of(data.tokens.begin(), data.tokens.end(), mark_inside);
  sort_added();
  make_pieces();
}

void Tokenizer::Impl::check() const {
  const size_t n = data.tokens.size();
  if (n == 0) fail("tokenizer: it has no tokens");
  if (data.types.size() != n) fail("tokenizer: {} tokens and {} token types", n, data.types.size());
  if (!data.scores.empty() && data.scores.size() != n)
    fail("tokenizer: {} tokens and {} scores", n, data.scores.size());
  for (const auto& id : {data.bos, data.eos, data.unk, data.pad, data.unknown})
    if (id && (*id < 0 || static_cast<size_t>(*id) >= n))
      fail("tokenizer: a special token has id {}, and there are {} tokens", *id, n);
  if (data.model == TokenizerData::Model::SentencePiece && data.merges.empty() && data.scores.empty())
    fail("tokenizer: a SentencePiece vocabulary needs scores or merges");
}

void Tokenizer::Impl::read_merges() {
  merges.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const std::string& merge = data.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) fail("tokenizer: merge {} (\"{}\") is not two tokens", rank, merge);
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    const int32_t a = id_of(left), b = id_of(right), both = id_of(left + right);
    if (a < 0 || b < 0 || both < 0)
      fail("tokenizer: merge {} (\"{}\") names the token \"{}\", which is not in the vocabulary", rank, merge,
           a < 0   ? left
           : b < 0 ? right
                   : left + right);
    merges.add(a, b, {static_cast<int32_t>(rank), both});
  }
}

void Tokenizer::Impl::sort_added() {
  const auto flag = [](const std::vector<bool>& flags, size_t i) { return i < flags.size() && flags[i]; };
  std::vector<AddedToken> raw, normalized;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    if (!is_added(data.types[i]) || data.tokens[i].empty()) continue;
    AddedToken token{data.tokens[i], static_cast<int32_t>(i), flag(data.lstrip, i), flag(data.rstrip, i),
                     flag(data.single_word, i)};
    if (normalizer && flag(data.normalized, i)) {
      token.content = normalizer(token.content);
      if (!token.content.empty()) normalized.push_back(std::move(token));
    } else {
      raw.push_back(std::move(token));
    }
  }
  if (!raw.empty()) raw_tokens = std::make_unique<AddedTokens>(std::move(raw));
  if (!normalized.empty()) normalized_tokens = std::make_unique<AddedTokens>(std::move(normalized));
}

void Tokenizer::Impl::make_pieces() {
  pieces.reserve(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string& token = data.tokens[i];
    if (is_added(data.types[i]) || data.types[i] == TokenType::Unused) {
      pieces.push_back(token);
    } else if (data.model == TokenizerData::Model::Bpe) {
      pieces.push_back(from_byte_level(token).value_or(token));
    } else {
      if (data.types[i] == TokenType::Byte) {
        const auto byte = std::find(byte_ids.begin(), byte_ids.end(), static_cast<int32_t>(i));
        if (byte == byte_ids.end()) fail("tokenizer: the byte token \"{}\" (id {}) spells no byte", token, i);
        pieces.emplace_back(1, static_cast<char>(byte - byte_ids.begin()));
        continue;
      }
      pieces.push_back(plain_spaces(token));
    }
  }
}

void Tokenizer::Impl::encode_part(std::string_view text, bool starts_text, const std::function<bool(int32_t)>& wanted,
                                  std::vector<int32_t>& out) const {
  const std::string normal = normalizer ? normalizer(std::string(text)) : std::string(text);
  if (!normalized_tokens) {
    encode_pieces(normal, starts_text, out);
    return;
  }
  for (const AddedTokens::Part& part : normalized_tokens->split(normal, wanted)) {
    if (part.id >= 0) {
      out.push_back(part.id);
    } else {
      encode_pieces(std::string_view(normal).substr(part.span.begin, part.span.end - part.span.begin),
                    starts_text && part.span.begin == 0, out);
    }
  }
}

void Tokenizer::Impl::encode_pieces(std::string_view text, bool starts_text, std::vector<int32_t>& out) const {
  if (text.empty()) return;
  const bool by_score = data.model == TokenizerData::Model::SentencePiece && data.merges.empty();
  Pieces cut{by_score ? mark_spaces(text) : std::string(text), {}, starts_text};
  cut.spans = {{0, cut.text.size()}};
  if (pre_tokenizer) pre_tokenizer->apply(cut);
  if (words_begin_with_marks) cut_at_marks(cut);
  // Words recur: the ids of short pieces are kept for the length of this text.
  std::unordered_map<std::string, std::vector<int32_t>, StringHash, std::equal_to<>> known;
  std::vector<int32_t> fresh;
  for (const Span& span : cut.spans) {
    const std::string_view piece = std::string_view(cut.text).substr(span.begin, span.end - span.begin);
    if (const auto found = known.find(piece); found != known.end()) {
      out.insert(out.end(), found->second.begin(), found->second.end());
      continue;
    }
    fresh.clear();
    if (by_score) {
      encode_by_score(piece, fresh);
    } else {
      encode_by_rank(piece, fresh);
    }
    out.insert(out.end(), fresh.begin(), fresh.end());
    if (piece.size() <= 64 && known.size() < 65536) known.emplace(piece, fresh);
  }
}

void Tokenizer::Impl::encode_by_rank(std::string_view piece, std::vector<int32_t>& out) const {
  if (data.ignore_merges) {
    if (const int32_t whole = id_of(piece); whole >= 0) {
      out.push_back(whole);
      return;
    }
  }
  bool in_unknown = false;  // whether the last character was one
  for (size_t at = 0; at < piece.size();) {
    const size_t size = decode_utf8(piece, at).size;
    const int32_t id = id_of(piece.substr(at, size));
    const bool was_unknown = in_unknown;
    in_unknown = false;
    if (id >= 0) {
      out.push_back(id);
    } else if (data.byte_fallback && std::all_of(piece.begin() + at, piece.begin() + at + size, [&](char c) {
                 return byte_ids[static_cast<unsigned char>(c)] >= 0;
               })) {
      for (size_t i = at; i < at + size; ++i) out.push_back(byte_ids[static_cast<unsigned char>(piece[i])]);
    } else if (data.unknown) {
      if (!was_unknown || !data.fuse_unk) out.push_back(*data.unknown);
      in_unknown = true;
    }
    at += size;
  }
  merge_pairs(merges, out);
}

// As llama.cpp reads a GGUF of the "llama" kind: a mark before the text, marks for its spaces.
std::string Tokenizer::Impl::mark_spaces(std::string_view text) const {
  std::string marked;
  marked.reserve(text.size() + text.size() / 2);
  if (data.add_space_prefix) marked += kSpaceMark;
  for (const char c : text) {
    if (c == ' ') {
      marked += kSpaceMark;
    } else {
      marked += c;
    }
  }
  return marked;
}

// Merging is independent on both sides of a place that no token spans: shorter pieces, and they recur.
void Tokenizer::Impl::cut_at_marks(Pieces& cut) const {
  std::vector<Span> out;
  for (const Span& span : cut.spans) {
    size_t begin = span.begin;
    const std::string_view text = std::string_view(cut.text).substr(0, span.end);
    for (size_t at = begin; (at = text.find(kSpaceMark, at)) != std::string_view::npos; at += kSpaceMark.size()) {
      if (at == begin || text.substr(begin, at - begin).ends_with(kSpaceMark)) continue;
      out.push_back({begin, at});
      begin = at;
    }
    if (begin < span.end) out.push_back({begin, span.end});
  }
  cut.spans = std::move(out);
}

void Tokenizer::Impl::encode_by_score(std::string_view text, std::vector<int32_t>& out) const {
  const auto score_of = [&](std::string_view token) -> std::optional<float> {
    const int32_t id = id_of(token);
    if (id < 0) return std::nullopt;
    return data.scores[id];
  };
  for (const Span& span : merge_by_score(text, score_of)) {
    const std::string_view token = text.substr(span.begin, span.end - span.begin);
    if (const int32_t id = id_of(token); id >= 0) {
      out.push_back(id);
      continue;
    }
    for (const char c : token) {
      const int32_t id = byte_ids[static_cast<unsigned char>(c)];
      if (id < 0 && !data.unk) fail("tokenizer: no token spells \"{}\", and there is no unknown token", token);
      out.push_back(id >= 0 ? id : *data.unk);
    }
  }
}

Tokenizer::Tokenizer(TokenizerData data) : impl_(std::make_unique<Impl>(std::move(data))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

const TokenizerData& Tokenizer::data() const { return impl_->data; }
int64_t Tokenizer::size() const { return static_cast<int64_t>(impl_->data.tokens.size()); }

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  const Impl& impl = *impl_;
  std::vector<int32_t> out;
  if (add_special && impl.data.add_bos && impl.data.bos) out.push_back(*impl.data.bos);
  const std::string valid = to_valid_utf8(text);
  const auto wanted = [&](int32_t id) { return parse_special || impl.data.types[id] == TokenType::UserDefined; };
  if (!impl.raw_tokens) {
    impl.encode_part(valid, true, wanted, out);
  } else {
    for (const AddedTokens::Part& part : impl.raw_tokens->split(valid, wanted)) {
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        impl.encode_part(std::string_view(valid).substr(part.span.begin, part.span.end - part.span.begin),
                         part.span.begin == 0, wanted, out);
      }
    }
  }
  if (add_special && impl.data.add_eos && impl.data.eos) out.push_back(*impl.data.eos);
  return out;
}

std::string Tokenizer::piece(int32_t id, bool special) const {
  if (id < 0 || id >= size()) fail("token id {} is not in the vocabulary of {}", id, size());
  const TokenType type = impl_->data.types[id];
  if (!special && (type == TokenType::Control || type == TokenType::Unknown)) return {};
  return impl_->pieces[id];
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  std::string out;
  for (const int32_t id : ids) out += piece(id, special);
  // The space that encoding put before the text.
  const bool prefixed = impl_->data.model == TokenizerData::Model::SentencePiece && impl_->data.add_space_prefix;
  if (prefixed && out.starts_with(' ')) out.erase(0, 1);
  return out;
}

std::string Utf8Stream::push(std::string_view bytes) {
  waiting_ += bytes;
  std::string out;
  size_t at = 0;
  while (at < waiting_.size()) {
    const Utf8Char c = decode_utf8(waiting_, at);
    if (c.cut) break;
    append_utf8(out, c.code);
    at += c.size;
  }
  waiting_.erase(0, at);
  return out;
}

std::string Utf8Stream::flush() {
  std::string out = to_valid_utf8(waiting_);
  waiting_.clear();
  return out;
}

}  // namespace lowbit
