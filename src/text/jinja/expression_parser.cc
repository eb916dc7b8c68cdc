#include "text/jinja/expression_parser.h"

#include <charconv>

namespace lowbit::jinja {

using Kind = Token::Kind;

void TokenCursor::unexpected() const {
  context_.error("unexpected {}",
                 now().kind == Kind::End                                        ? "end"
                 : now().kind == Kind::BlockEnd || now().kind == Kind::PrintEnd ? "end of the tag"
                 : now().kind == Kind::Data || now().kind == Kind::BlockBegin || now().kind == Kind::PrintBegin
                     ? "text"
                     : "'" + now().text.substr(0, 40) + "'");
}

ExpressionPtr ExpressionParser::node(Expr kind, int line, std::string name) const {
  auto e = std::make_unique<Expression>();
  e->kind = kind;
  e->line = line;
  e->name = std::move(name);
  return e;
}

void ExpressionParser::adopt(Expression& parent, ExpressionPtr child) const {
  if (child) grow(parent, *child);
  parent.parts.push_back(std::move(child));
}

void ExpressionParser::grow(Expression& parent, const Expression& child) const {
  constexpr size_t kHighest = 400;
  parent.height = std::max(parent.height, child.height + 1);
  if (parent.height > kHighest) context_.error("an expression is nested more than {} deep", kHighest);
}

ExpressionPtr ExpressionParser::binary(std::string op, ExpressionPtr left, ExpressionPtr right) const {
  auto e = node(Expr::Binary, left->line, std::move(op));
  adopt(*e, std::move(left));
  adopt(*e, std::move(right));
  return e;
}

bool ExpressionParser::ends_tuple() const {
  return now().kind == Kind::PrintEnd || now().kind == Kind::BlockEnd || is_op(")") || is_name("recursive");
}

ExpressionPtr ExpressionParser::tuple(bool conditions, bool in_parentheses) {
  const int line = now().line;
  std::vector<ExpressionPtr> parts;
  bool is_tuple = false;
  while (!ends_tuple()) {
    parts.push_back(conditions ? expression() : either());
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && parts.size() == 1) return std::move(parts[0]);
  if (parts.empty() && !in_parentheses) unexpected();
  auto e = node(Expr::Tuple, line);
  for (auto& part : parts) adopt(*e, std::move(part));
  return e;
}

ExpressionPtr ExpressionParser::expression() {
  const Context::Level level(context_);
  ExpressionPtr value = either();
  while (skip_name("if")) {
    auto e = node(Expr::Conditional, value->line);
    adopt(*e, either());
    adopt(*e, std::move(value));
    adopt(*e, skip_name("else") ? expression() : nullptr);
    value = std::move(e);
  }
  return value;
}

ExpressionPtr ExpressionParser::either() {
  ExpressionPtr left = both();
  while (skip_name("or")) left = binary("or", std::move(left), both());
  return left;
}

ExpressionPtr ExpressionParser::both() {
  ExpressionPtr left = negation();
  while (skip_name("and")) left = binary("and", std::move(left), negation());
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!is_name("not")) return comparison();
  const Context::Level level(context_);
  auto e = node(Expr::Unary, take().line, "not");
  adopt(*e, negation());
  return e;
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr first = sum();
  std::vector<std::string> operators;
  auto e = node(Expr::Compare, first->line);
  adopt(*e, std::move(first));
  while (true) {
    const bool not_in = is_name("not") && after().kind == Kind::Name && after().text == "in";
    const bool symbol = is_op("==") || is_op("!=") || is_op("<") || is_op("<=") || is_op(">") || is_op(">=");
    if (!not_in && !symbol && !is_name("in")) break;
    if (not_in) take();
    const std::string op = take().text;
    e->operators.push_back(not_in ? "not in" : op);
    adopt(*e, sum());
  }
  return e->operators.empty() ? std::move(e->parts[0]) : std::move(e);
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (is_op("+") || is_op("-")) {
    std::string op = take().text;
    left = binary(std::move(op), std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr left = product();
  while (skip_op("~")) left = binary("~", std::move(left), product());
  return left;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    std::string op = take().text;
    left = binary(std::move(op), std::move(left), power());
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary(true);
  while (skip_op("**")) left = binary("**", std::move(left), unary(true));
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const Context::Level level(context_);
  ExpressionPtr e;
  if (is_op("-") || is_op("+")) {
    const Token sign = take();
    e = node(Expr::Unary, sign.line, sign.text);
    adopt(*e, unary(false));
  } else {
    e = postfix(primary());
  }
  return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
}

ExpressionPtr ExpressionParser::constant(Value value) {
  auto e = node(Expr::Constant, now().line);
  e->constant = std::move(value);
  return e;
}

ExpressionPtr ExpressionParser::primary() {
  switch (now().kind) {
    case Kind::Name:
      return name();
    case Kind::String: {
      std::string text;
      while (now().kind == Kind::String) text += take().text;  // neighbours are one string
      return constant(std::move(text));
    }
    case Kind::Integer:
    case Kind::Float:
      return number();
    case Kind::Operator:
      if (is_op("(")) {
        take();
        ExpressionPtr e = tuple(true, true);
        expect_op(")");
        return e;
      }
      if (is_op("[")) return list();
      if (is_op("{")) return dict();
      unexpected();
    default:
      unexpected();
  }
}

ExpressionPtr ExpressionParser::name() {
  const Token token = take();
  if (token.text == "true" || token.text == "True") return constant(true);
  if (token.text == "false" || token.text == "False") return constant(false);
  if (token.text == "none" || token.text == "None") return constant(None{});
  for (Macro* macro : macros_) {
    macro->uses_varargs |= token.text == "varargs";
    macro->uses_kwargs |= token.text == "kwargs";
    macro->uses_caller |= token.text == "caller";
  }
  return node(Expr::Name, token.line, token.text);
}

ExpressionPtr ExpressionParser::number() {
  const Token token = take();
  const char *begin = token.text.data(), *end = begin + token.text.size();
  int64_t integer = 0;
  double real = 0;
  const auto result =
      token.kind == Kind::Integer ? std::from_chars(begin, end, integer) : std::from_chars(begin, end, real);
  if (result.ec != std::errc() || result.ptr != end)
    context_.error("the number {} is out of range", token.text.substr(0, 40));
  return token.kind == Kind::Integer ? constant(integer) : constant(real);
}

ExpressionPtr ExpressionParser::list() {
  auto e = node(Expr::List, take().line);
  while (!is_op("]")) {
    if (!e->parts.empty()) expect_op(",");
    if (is_op("]")) break;
    adopt(*e, expression());
  }
  take();
  return e;
}

ExpressionPtr ExpressionParser::dict() {
  auto e = node(Expr::Dict, take().line);
  while (!is_op("}")) {
    if (!e->parts.empty()) expect_op(",");
    if (is_op("}")) break;
    adopt(*e, expression());
    expect_op(":");
    adopt(*e, expression());
  }
  take();
  return e;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr e) {
  while (true) {
    if (is_op(".")) {
      take();
      if (now().kind == Kind::Integer) {
        auto item = node(Expr::Item, now().line);
        adopt(*item, std::move(e));
        adopt(*item, number());
        e = std::move(item);
      } else {
        auto attribute = node(Expr::Attribute, now().line, expect_name());
        adopt(*attribute, std::move(e));
        e = std::move(attribute);
      }
    } else if (is_op("[")) {
      e = subscript(std::move(e));
    } else if (is_op("(")) {
      e = call(std::move(e));
    } else {
      return e;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr value) {
  const int line = take().line;
  ExpressionPtr bounds[3];
  int colons = 0;
  while (!is_op("]")) {
    if (skip_op(":")) {
      if (++colons > 2) unexpected();
    } else if (bounds[colons]) {
      unexpected();
    } else {
      bounds[colons] = expression();
    }
  }
  take();
  if (colons == 0 && !bounds[0]) context_.error("an empty subscript");
  auto e = node(colons > 0 ? Expr::Slice : Expr::Item, line);
  adopt(*e, std::move(value));
  for (int i = 0; i < (colons > 0 ? 3 : 1); ++i) adopt(*e, std::move(bounds[i]));
  return e;
}

void ExpressionParser::arguments(Expression& e) {
  expect_op("(");
  bool named = false;
  while (!is_op(")")) {
    if (!e.arguments.empty()) expect_op(",");
    if (is_op(")")) break;
    Argument a;
    if (skip_op("*")) {
      a.kind = Argument::Kind::Star;
    } else if (skip_op("**")) {
      a.kind = Argument::Kind::StarStar;
    } else if (now().kind == Kind::Name && after().kind == Kind::Operator && after().text == "=") {
      a.kind = Argument::Kind::Named;
      a.name = take().text;
      take();
      named = true;
    } else if (named) {
      context_.error("a positional argument follows a named one");
    }
    a.value = expression();
    grow(e, *a.value);
    e.arguments.push_back(std::move(a));
  }
  take();
}

ExpressionPtr ExpressionParser::call(ExpressionPtr function) {
  auto e = node(Expr::Call, now().line);
  adopt(*e, std::move(function));
  arguments(*e);
  return e;
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr e) {
  while (true) {
    if (is_op("|")) {
      e = filters(std::move(e), false);
    } else if (is_name("is")) {
      e = test(std::move(e));
    } else if (is_op("(")) {
      e = call(std::move(e));
    } else {
      return e;
    }
  }
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect_name();
  while (skip_op(".")) name += "." + expect_name();
  return name;
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr value, bool first_is_bare) {
  while (is_op("|") || first_is_bare) {
    if (!first_is_bare) take();
    first_is_bare = false;
    auto e = node(Expr::Filter, now().line, dotted_name());
    adopt(*e, std::move(value));
    if (is_op("(")) arguments(*e);
    value = std::move(e);
  }
  return value;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const int line = take().line;
  const bool negated = skip_name("not");
  auto e = node(Expr::Test, line, dotted_name());
  adopt(*e, std::move(value));
  const Kind next = now().kind;
  const bool operand = next == Kind::Name || next == Kind::String || next == Kind::Integer || next == Kind::Float ||
                       is_op("[") || is_op("{");
  if (is_op("(")) {
    arguments(*e);
  } else if (operand && !is_one_of({"else", "or", "and"})) {
    if (is_name("is")) context_.error("tests cannot be chained with 'is'");
    Argument a;
    a.value = postfix(primary());
    grow(*e, *a.value);
    e->arguments.push_back(std::move(a));
  }
  if (!negated) return e;
  auto n = node(Expr::Unary, line, "not");
  adopt(*n, std::move(e));
  return n;
}

}  // namespace lowbit::jinja
