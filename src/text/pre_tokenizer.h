// Pre-tokenizers of tokenizer.json: the cuts that merges never cross.
// (Semantics: the `tokenizers` library, src/pre_tokenizers/ and src/tokenizer/normalizer.rs.)
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/regex.h"

namespace lowbit {

/// A text and the pieces it is cut into, in order. Pieces need not cover the text: what was removed is in no piece.
struct Pieces {
  std::string text;  ///< UTF-8
  std::vector<Span> spans;
  bool starts_text = true;  ///< the first piece begins the whole text (it does not follow an added token)
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

/// From the "pre_tokenizer" of a tokenizer.json; null (JSON) gives nullptr: the text stays whole. Throws Error, opened
/// by `where`, for types and options that lowbit does not reproduce.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const std::string& where);

}  // namespace lowbit
