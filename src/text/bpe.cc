#include "text/bpe.h"

#include <queue>

#include "text/utf8.h"

namespace lowbit {
namespace {

struct Symbol {
  int32_t id = 0;
  int32_t previous = -1, next = -1;
  bool alive = true;
};

struct Candidate {
  int32_t rank = 0, left = 0;
  int32_t left_id = 0, right_id = 0, result = 0;  // the ids tell a stale candidate from a live one
  bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
};

}  // namespace

void merge_pairs(const MergeTable& table, std::vector<int32_t>& symbols) {
  const auto n = static_cast<int32_t>(symbols.size());
  if (n < 2) return;
  std::vector<Symbol> list(symbols.size());
  std::vector<Candidate> initial;
  for (int32_t i = 0; i < n; ++i) {
    list[i] = {symbols[i], i - 1, i + 1 < n ? i + 1 : -1, true};
    if (i + 1 == n) continue;
    if (const auto* rule = table.find(symbols[i], symbols[i + 1]))
      initial.push_back({rule->rank, i, symbols[i], symbols[i + 1], rule->result});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(), std::move(initial));
  const auto consider = [&](int32_t left) {
    if (left < 0 || list[left].next < 0) return;
    const int32_t a = list[left].id, b = list[list[left].next].id;
    if (const auto* rule = table.find(a, b)) queue.push({rule->rank, left, a, b, rule->result});
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = list[top.left];
    if (!left.alive || left.id != top.left_id || left.next < 0 || list[left.next].id != top.right_id) continue;
    Symbol& right = list[left.next];
    right.alive = false;
    left.id = top.result;
    left.next = right.next;
    if (left.next >= 0) list[left.next].previous = top.left;
    consider(left.previous);
    consider(top.left);
  }
  symbols.clear();
  for (int32_t i = 0; i >= 0; i = list[i].next) symbols.push_back(list[i].id);
}

namespace {

struct Piece {
  Span span;
  int32_t previous = -1, next = -1;
};

struct Join {
  float score = 0;
  int32_t left = 0;
  Span span;  // of both; tells a stale join from a live one
  bool operator<(const Join& other) const { return score != other.score ? score < other.score : left > other.left; }
};

}  // namespace

std::vector<Span> merge_by_score(std::string_view text,
                                 const std::function<std::optional<float>(std::string_view)>& score_of) {
  std::vector<Piece> list;
  for (size_t at = 0; at < text.size();) {
    const size_t size = decode_utf8(text, at).size;
    const auto i = static_cast<int32_t>(list.size());
    list.push_back({{at, at + size}, i - 1, i + 1});
    at += size;
  }
  if (list.empty()) return {};
  list.back().next = -1;
  std::priority_queue<Join> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || list[left].next < 0) return;
    const Span both{list[left].span.begin, list[list[left].next].span.end};
    if (const auto score = score_of(text.substr(both.begin, both.end - both.begin))) queue.push({*score, left, both});
  };
  for (size_t i = 0; i + 1 < list.size(); ++i) consider(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Join top = queue.top();
    queue.pop();
    Piece& left = list[top.left];
    if (left.next < 0 || left.span.begin != top.span.begin || list[left.next].span.end != top.span.end) continue;
    Piece& right = list[left.next];
    left.span = top.span;
    left.next = right.next;
    right.span = {};  // dead: no join begins at its byte any more
    right.next = -1;
    if (left.next >= 0) list[left.next].previous = top.left;
    consider(left.previous);
    consider(top.left);
  }
  std::vector<Span> out;
  for (int32_t i = 0; i >= 0; i = list[i].next) out.push_back(list[i].span);
  return out;
}

}  // namespace lowbit
