// The words of a Jinja template.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lowbit::jinja {

struct Token {
  enum class Kind { Text, BeginBlock, EndBlock, BeginOutput, EndOutput, Name, Number, String, Operator, End };
  Kind kind = Kind::End;
  std::string text;
  int line = 0;
};

/// Comments are dropped and whitespace is trimmed as trim_blocks, lstrip_blocks and the signs - and + ask.
std::vector<Token> lex(std::string_view source);

}  // namespace lowbit::jinja
