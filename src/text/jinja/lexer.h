// Template text to tokens, by the rules of Jinja 2's lexer with trim_blocks and lstrip_blocks, as transformers sets
// them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lowbit::jinja {

struct Token {
  enum class Kind { Data, PrintBegin, PrintEnd, BlockBegin, BlockEnd, Name, String, Integer, Float, Operator, End };
  Kind kind;
  std::string text;  ///< String: its content, escapes resolved; Integer: decimal digits without underscores
  int line;
};

/// Throws Error, with the line, on text that is not a template.
std::vector<Token> tokenize(std::string_view source);

}  // namespace lowbit::jinja
