#include "text/bpe.h"

#include <bit>
#include <queue>

#include "base/error.h"
#include "text/unicode.h"

namespace lowbit {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

/// Greater scores first: the order of floats as integers.
int64_t rank_of_score(float score) {
  const auto bits = std::bit_cast<int32_t>(score == 0 ? 0.0F : score);
  return -static_cast<int64_t>(bits < 0 ? std::bit_cast<int32_t>(static_cast<uint32_t>(bits) ^ 0x7fffffffU) : bits);
}

}  // namespace

Bpe::Bpe(const TokenizerData& data) : ignore_merges_(data.ignore_merges), fuse_unknown_(data.fuse_unk) {
  ids_.reserve(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) ids_.try_emplace(data.tokens[i], static_cast<int32_t>(i));
  if (data.unknown) unknown_ = *data.unknown;
  byte_tokens_.assign(256, -1);
  if (data.byte_fallback) {
    for (size_t b = 0; b < 256; ++b) byte_tokens_[b] = find(fmt::format("<0x{:02X}>", b));
  }
  if (data.merges.empty() && !data.scores.empty()) {
    scores_ = data.scores;
    return;
  }
  merges_.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const std::string& merge = data.merges[rank];
    // The parts hold no space: byte-level tokens spell it otherwise, SentencePiece marks it. (A merge may begin with
    // one.)
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) fail("tokenizer: merge {} (\"{}\") has no two parts", rank, merge);
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    const int32_t l = find(left), r = find(right), whole = find(left + right);
    if (l < 0 || r < 0 || whole < 0)
      fail("tokenizer: merge {} (\"{}\") names a token that is not in the vocabulary", rank, merge);
    merges_.try_emplace(pair_key(l, r), Merge{static_cast<int64_t>(rank), whole});
  }
}

int32_t Bpe::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

bool Bpe::merge_of(std::string_view piece, const Symbol& left, const Symbol& right, Merge& out) const {
  if (scores_.empty()) {
    if (left.id < 0 || right.id < 0) return false;
    const auto found = merges_.find(pair_key(left.id, right.id));
    if (found == merges_.end()) return false;
    out = found->second;
    return true;
  }
  const int32_t id = find(piece.substr(left.begin, right.end - left.begin));
  if (id < 0) return false;
  out = {rank_of_score(scores_[static_cast<size_t>(id)]), id};
  return true;
}

std::vector<Bpe::Symbol> Bpe::symbols_of(std::string_view piece) const {
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < piece.size();) {
    const size_t begin = at;
    next_char(piece, at);
    at = std::min(at, piece.size());
    const int i = static_cast<int>(symbols.size());
    symbols.push_back({begin, at, find(piece.substr(begin, at - begin)), i - 1, i + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

void Bpe::append_unknown(std::string_view text, std::vector<int32_t>& out) const {
  bool bytes = true;
  for (const char c : text) bytes = bytes && byte_tokens_[static_cast<unsigned char>(c)] >= 0;
  if (bytes) {
    for (const char c : text) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  } else if (unknown_ >= 0) {
    out.push_back(unknown_);
  }
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.empty()) return;
  if (ignore_merges_) {
    if (const int32_t whole = find(piece); whole >= 0) return out.push_back(whole);
  }
  std::vector<Symbol> symbols = symbols_of(piece);
  struct Candidate {
    int64_t rank;
    int left, right;
    size_t end;  // of the right symbol when this was found: if it moved, the candidate is stale
    int32_t id;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  std::priority_queue<Candidate> queue;
  const auto offer = [&](int left, int right) {
    Merge merge;
    if (left >= 0 && right >= 0 &&
        merge_of(piece, symbols[static_cast<size_t>(left)], symbols[static_cast<size_t>(right)], merge)) {
      queue.push({merge.rank, left, right, symbols[static_cast<size_t>(right)].end, merge.id});
    }
  };
  std::vector<bool> gone(symbols.size());
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(c.left)];
    if (gone[static_cast<size_t>(c.left)] || left.next != c.right || symbols[static_cast<size_t>(c.right)].end != c.end)
      continue;
    Merge now;
    if (!merge_of(piece, left, symbols[static_cast<size_t>(c.right)], now) || now.id != c.id) continue;
    const Symbol& right = symbols[static_cast<size_t>(c.right)];
    left.end = right.end;
    left.id = c.id;
    left.next = right.next;
    gone[static_cast<size_t>(c.right)] = true;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = c.left;
    offer(left.previous, c.left);
    offer(c.left, left.next);
  }
  bool after_unknown = false;
  for (int i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    const Symbol& s = symbols[static_cast<size_t>(i)];
    if (s.id >= 0) {
      out.push_back(s.id);
      after_unknown = false;
      continue;
    }
    const size_t before = out.size();
    append_unknown(piece.substr(s.begin, s.end - s.begin), out);
    const bool unknown = out.size() == before + 1 && out.back() == unknown_;
    if (unknown && after_unknown && fuse_unknown_) out.pop_back();
    after_unknown = unknown;
  }
}

}  // namespace lowbit
