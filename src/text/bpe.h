// Merging of byte pair encoding.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/regex.h"

namespace lowbit {

/// The rules of a vocabulary: two adjacent tokens that become one, the lowest rank first.
class MergeTable {
 public:
  struct Rule {
    int32_t rank = 0;
    int32_t result = 0;
  };
  void reserve(size_t n) { rules_.reserve(n); }
  /// A pair that is there already takes the new rule, as in the `tokenizers` library.
  void add(int32_t left, int32_t right, Rule rule) { rules_.insert_or_assign(key(left, right), rule); }
  const Rule* find(int32_t left, int32_t right) const {
    const auto found = rules_.find(key(left, right));
    return found == rules_.end() ? nullptr : &found->second;
  }
  bool empty() const { return rules_.empty(); }

 private:
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  struct Hash {
    size_t operator()(uint64_t k) const {
      k *= 0x9E3779B97F4A7C15;
      return static_cast<size_t>(k ^ k >> 32);
    }
  };
  std::unordered_map<uint64_t, Rule, Hash> rules_;
};

/// Merges `symbols` in place until no rule applies: always the rule of lowest rank, the leftmost pair first.
/// O(n log n) in the number of symbols.
void merge_pairs(const MergeTable& table, std::vector<int32_t>& symbols);

/// SentencePiece's way: joins neighbouring spans of `text` (UTF-8, first its characters) while the joined text has a
/// score, always the best score, the leftmost pair first. O(n log n) in the number of characters.
std::vector<Span> merge_by_score(std::string_view text,
                                 const std::function<std::optional<float>(std::string_view)>& score_of);

}  // namespace lowbit
