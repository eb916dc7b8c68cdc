// Normalizers and pre-tokenizers, built from tokenizer.json's own description of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace lowbit {

/// A change of the whole text before it is split. A null description changes nothing.
class Normalizer {
 public:
  /// Throws Error naming a component that cannot be reproduced exactly.
  explicit Normalizer(const Json& description);
  std::string apply(std::string text) const;
  bool empty() const { return steps_.empty(); }

 private:
  using Step = std::function<std::string(std::string)>;
  void add(const Json& description);
  std::vector<Step> steps_;
};

/// A piece of text, and whether it begins the text it was split from (for prefixes that only the first piece gets).
struct Piece {
  std::string text;
  bool first = false;
};

/// Splits text into the pieces that are merged separately. `byte_level` tells whether a step respells bytes as GPT-2
/// does.
class PreTokenizer {
 public:
  explicit PreTokenizer(const Json& description);
  void split(std::vector<Piece>& pieces) const;
  /// Whether pieces come out in the byte-to-unicode spelling.
  bool byte_level() const { return byte_level_; }

 private:
  using Step = std::function<void(std::vector<Piece>&)>;
  void add(const Json& description);
  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace lowbit
