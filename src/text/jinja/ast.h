// The tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace lowbit::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// One argument of a call, filter or test.
struct Argument {
  enum class Kind { Positional, Named, Star, StarStar } kind = Kind::Positional;
  std::string name;
  ExpressionPtr value;
};

struct Expression {
  enum class Kind {
    Constant,     // constant
    Name,         // name
    List,         // parts
    Tuple,        // parts
    Dict,         // parts: key, value, key, value, ...
    Attribute,    // parts[0].name
    Item,         // parts[0][parts[1]]
    Slice,        // parts[0][parts[1]:parts[2]:parts[3]], each null if left out
    Call,         // parts[0](arguments)
    Filter,       // parts[0] | name(arguments); parts[0] null in a filter block
    Test,         // parts[0] is name(arguments)
    Unary,        // name: "not", "-", "+"
    Binary,       // name: an operator; "and", "or"
    Compare,      // parts[0] operators[0] parts[1] operators[1] parts[2] ...
    Conditional,  // parts[1] if parts[0] else parts[2], which may be null
  };
  Kind kind;
  int line;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<Argument> arguments;
  std::vector<std::string> operators;
  size_t height = 1;  ///< of the tree below, kept small by the parser, so that walking it fits the stack
};

/// What is assigned to: a name, an attribute of a namespace, or several of them.
struct Target {
  std::string name;
  std::string attribute;      ///< of the namespace `name`; empty for a plain name
  std::vector<Target> parts;  ///< if not empty, the value is unpacked into them
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  ///< null if it has no default
};

/// A macro's signature and body; also the body of a call block.
struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

struct Statement {
  enum class Kind {
    Text,       // text
    Print,      // value
    If,         // branches, otherwise
    For,        // target, value, condition (may be null), body, otherwise
    Set,        // target = value
    SetBlock,   // target = body through value, a chain of filters that may be null
    Define,     // macro
    CallBlock,  // value is a Call; macro is what caller() runs
    Filter,     // body through value, a chain of filters
    With,       // assignments, body
    Scope,      // body: its variables end with it
    Break,
    Continue,
  };
  Kind kind;
  int line;
  std::string text;
  Target target;
  ExpressionPtr value, condition;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  std::shared_ptr<const Macro> macro;
  Body body, otherwise;
};

}  // namespace lowbit::jinja
