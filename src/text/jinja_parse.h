// Jinja templates, the part that chat templates use: parsed into a tree.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace lowbit::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  std::string name;  ///< empty: by position
  ExprPtr value;
};

/// `text` is the operator, or the name of the variable, attribute, filter or test.
struct Expr {
  enum class Kind {
    Literal,
    Variable,
    Attribute,
    Subscript,
    Slice,
    Call,
    Filter,
    Test,
    Unary,
    Binary,
    Conditional,
    List,
    Dict
  };
  Kind kind = Kind::Literal;
  int line = 0;
  Json literal;
  std::string text;
  std::vector<ExprPtr>
      parts;  ///< operands; of Slice: object, begin, end, step (null where absent); of Dict: key, value ...
  std::vector<Argument> arguments;
};

struct Node;
using Body = std::vector<Node>;

struct Node {
  enum class Kind { Text, Output, If, For, Set, Macro, Break, Continue, Block };
  Kind kind = Kind::Text;
  int line = 0;
  std::string text;                ///< of Text; the name a Macro has; the namespace that Set changes an attribute of
  std::vector<std::string> names;  ///< loop variables, Set's targets, Macro's parameters
  std::vector<ExprPtr> values;     ///< Output, If's conditions, For's list and filter, Set's value, Macro's defaults
  std::vector<Body> bodies;        ///< of each If branch (one more than conditions: else), of For and its else, ...
};

/// trim_blocks and lstrip_blocks are on, as transformers has them. Throws Error naming the line.
Body parse(std::string_view source);

}  // namespace lowbit::jinja
