// Merging pieces into tokens: byte-pair encoding by rank (GPT-2, Hugging Face) or by score (SentencePiece).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

class Bpe {
 public:
  /// Throws Error naming a merge whose parts or result are no tokens.
  explicit Bpe(const TokenizerData& data);

  /// Appends the ids of one piece (spelled as the vocabulary is). O(n log n). Characters that are in no token become
  /// their byte tokens, or the unknown token, or nothing, as the model has them.
  void encode(std::string_view piece, std::vector<int32_t>& out) const;

  /// -1 if there is none.
  int32_t find(std::string_view token) const;

 private:
  struct Symbol {
    size_t begin, end;
    int32_t id;  // -1: no token
    int previous, next;
  };
  struct Merge {
    int64_t rank;  // lower is merged first
    int32_t id;
  };
  bool merge_of(std::string_view piece, const Symbol& left, const Symbol& right, Merge& out) const;
  std::vector<Symbol> symbols_of(std::string_view piece) const;
  void append_unknown(std::string_view text, std::vector<int32_t>& out) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::unordered_map<uint64_t, Merge> merges_;  // by (left id, right id)
  std::vector<float> scores_;                   // empty: merged by rank
  std::vector<int32_t> byte_tokens_;            // <0x00> ... <0xFF>, -1 where absent
  int32_t unknown_ = -1;
  bool ignore_merges_ = false, fuse_unknown_ = false;
};

}  // namespace lowbit
