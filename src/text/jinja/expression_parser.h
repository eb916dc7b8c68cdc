// The expressions of a template, and what reading statements shares with it.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/context.h"
#include "text/jinja/lexer.h"

namespace lowbit::jinja {

/// A place among the tokens of a template.
class TokenCursor {
 protected:
  using Names = std::initializer_list<std::string_view>;

  explicit TokenCursor(std::string_view source) : tokens_(tokenize(source)) {}

  const Token& now() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  /// The token here; the cursor moves on, and messages speak of the line that it is on then.
  Token take() {
    Token token = now();
    if (at_ + 1 < tokens_.size()) ++at_;
    context_.line = now().line;
    return token;
  }
  bool is(Token::Kind kind, std::string_view text) const { return now().kind == kind && now().text == text; }
  bool is_op(std::string_view op) const { return is(Token::Kind::Operator, op); }
  bool is_name(std::string_view name) const { return is(Token::Kind::Name, name); }
  bool is_one_of(Names names) const {
    return now().kind == Token::Kind::Name && std::find(names.begin(), names.end(), now().text) != names.end();
  }
  /// skip_: moves on and is true if this is next. expect_: throws Error if it is not.
  bool skip_op(std::string_view op) { return is_op(op) && (take(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (take(), true); }
  [[noreturn]] void unexpected() const;
  void expect_op(std::string_view op) {
    if (!skip_op(op)) unexpected();
  }
  std::string expect_name() {
    if (now().kind != Token::Kind::Name) unexpected();
    return take().text;
  }
  void expect_block_end() {
    if (now().kind != Token::Kind::BlockEnd) unexpected();
    take();
  }

  mutable Context context_;

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

/// Reads expressions by Jinja 2's grammar, from the loosest binding (a tuple) to the tightest.
class ExpressionParser : protected TokenCursor {
 protected:
  using TokenCursor::TokenCursor;

  /// One expression, or several with commas between: a tuple. With conditions, "a if b else c" may stand in it.
  ExpressionPtr tuple(bool conditions, bool in_parentheses = false);
  ExpressionPtr expression();
  /// A chain of filters. In a filter block the first has no "|" before it, and the innermost value is null.
  ExpressionPtr filters(ExpressionPtr value, bool first_is_bare);

  std::vector<Macro*> macros_;  ///< that the current place is inside of

 private:
  using Expr = Expression::Kind;

  ExpressionPtr node(Expr kind, int line, std::string name = {}) const;
  /// Adds a part; a tree higher than this could not be walked on the stack.
  void adopt(Expression& parent, ExpressionPtr child) const;
  void grow(Expression& parent, const Expression& child) const;
  ExpressionPtr binary(std::string op, ExpressionPtr left, ExpressionPtr right) const;
  ExpressionPtr constant(Value value);

  bool ends_tuple() const;
  ExpressionPtr either();
  ExpressionPtr both();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters);

  ExpressionPtr primary();
  ExpressionPtr name();
  ExpressionPtr number();
  ExpressionPtr list();
  ExpressionPtr dict();

  ExpressionPtr postfix(ExpressionPtr e);
  ExpressionPtr subscript(ExpressionPtr value);
  void arguments(Expression& e);
  ExpressionPtr call(ExpressionPtr function);
  ExpressionPtr filters_and_tests(ExpressionPtr e);
  std::string dotted_name();
  ExpressionPtr test(ExpressionPtr value);
};

}  // namespace lowbit::jinja
