#include "text/added_tokens.h"

#include <algorithm>
#include <cctype>

namespace lowbit {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_word(char c) {
  return static_cast<unsigned char>(c) >= 0x80 || std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word(text[begin - 1])) && (end == text.size() || !is_word(text[end]));
}

}  // namespace

void AddedTokens::add(int32_t id, std::string_view text, bool lstrip, bool rstrip, bool single_word) {
  if (text.empty()) return;
  std::vector<Entry>& list = by_first_[text[0]];
  const auto place =
      std::find_if(list.begin(), list.end(), [&](const Entry& e) { return e.text.size() < text.size(); });
  list.insert(place, {std::string(text), id, lstrip, rstrip, single_word});
}

const AddedTokens::Entry* AddedTokens::match(std::string_view text, size_t at,
                                             const std::function<bool(int32_t)>& allowed) const {
  const auto found = by_first_.find(text[at]);
  if (found == by_first_.end()) return nullptr;
  for (const Entry& e : found->second) {
    if (text.compare(at, e.text.size(), e.text) == 0 && allowed(e.id)) return &e;
  }
  return nullptr;
}

void AddedTokens::split(std::string_view text, const std::function<bool(int32_t id)>& allowed,
                        const std::function<void(std::string_view)>& on_text,
                        const std::function<void(int32_t)>& on_token) const {
  size_t begin = 0;  // of the plain text not yet handed on
  for (size_t at = 0; at < text.size();) {
    const Entry* e = by_first_.empty() ? nullptr : match(text, at, allowed);
    if (e != nullptr && e->single_word && !stands_alone(text, at, at + e->text.size())) {
      at += e->text.size();  // as the `tokenizers` library does: the whole match is passed over
      continue;
    }
    if (e == nullptr) {
      ++at;
      continue;
    }
    size_t stop = at, next = at + e->text.size();
    while (e->lstrip && stop > begin && is_space(text[stop - 1])) --stop;
    while (e->rstrip && next < text.size() && is_space(text[next])) ++next;
    if (stop > begin) on_text(text.substr(begin, stop - begin));
    on_token(e->id);
    begin = at = next;
  }
  if (begin < text.size()) on_text(text.substr(begin));
}

}  // namespace lowbit
