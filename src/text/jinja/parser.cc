#include "text/jinja/parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "text/jinja/lexer.h"

namespace lowbit::jinja {
namespace {

using Kind = Token::Kind;
using Expr = Expression::Kind;
using Names = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Body run() {
    Body body = statements({});
    if (now().kind != Kind::End) unexpected();
    return body;
  }

 private:
  // --- tokens
  const Token& now() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() {
    Token token = now();
    if (at_ + 1 < tokens_.size()) ++at_;
    context_.line = now().line;
    return token;
  }
  bool is(Kind kind, std::string_view text) const { return now().kind == kind && now().text == text; }
  bool is_op(std::string_view op) const { return is(Kind::Operator, op); }
  bool is_name(std::string_view name) const { return is(Kind::Name, name); }
  bool is_one_of(Names names) const {
    return now().kind == Kind::Name && std::find(names.begin(), names.end(), now().text) != names.end();
  }
  bool skip_op(std::string_view op) { return is_op(op) && (take(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (take(), true); }
  [[noreturn]] void unexpected() const {
    context_.error("unexpected {}",
                   now().kind == Kind::End                                        ? "end"
                   : now().kind == Kind::BlockEnd || now().kind == Kind::PrintEnd ? "end of the tag"
                   : now().kind == Kind::Data || now().kind == Kind::BlockBegin || now().kind == Kind::PrintBegin
                       ? "text"
                       : "'" + now().text.substr(0, 40) + "'");
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) unexpected();
  }
  std::string expect_name() {
    if (now().kind != Kind::Name) unexpected();
    return take().text;
  }
  void expect_block_end() {
    if (now().kind != Kind::BlockEnd) unexpected();
    take();
  }

  // --- nodes
  ExpressionPtr node(Expr kind, int line, std::string name = {}) const {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->line = line;
    e->name = std::move(name);
    return e;
  }
  /// Adds a part; a tree higher than this could not be walked on the stack.
  void adopt(Expression& parent, ExpressionPtr child) const {
    if (child) grow(parent, *child);
    parent.parts.push_back(std::move(child));
  }
  void grow(Expression& parent, const Expression& child) const {
    constexpr size_t kHighest = 400;
    parent.height = std::max(parent.height, child.height + 1);
    if (parent.height > kHighest) context_.error("an expression is nested more than {} deep", kHighest);
  }
  ExpressionPtr binary(std::string op, ExpressionPtr left, ExpressionPtr right) const {
    auto e = node(Expr::Binary, left->line, std::move(op));
    adopt(*e, std::move(left));
    adopt(*e, std::move(right));
    return e;
  }

  // --- statements
  /// Statements up to a block that begins with one of `ends`, whose name is the next token then.
  Body statements(Names ends) {
    const Context::Level level(context_);
    Body body;
    while (now().kind != Kind::End) {
      if (now().kind == Kind::Data) {
        body.push_back(statement(Statement::Kind::Text));
        body.back()->text = take().text;
      } else if (now().kind == Kind::PrintBegin) {
        auto s = statement(Statement::Kind::Print);
        take();
        s->value = tuple(true);
        if (now().kind != Kind::PrintEnd) unexpected();
        take();
        body.push_back(std::move(s));
      } else {
        take();  // BlockBegin
        if (is_one_of(ends)) return body;
        body.push_back(block());
      }
    }
    if (ends.size() > 0) context_.error("the template ends before '{}'", *(ends.end() - 1));
    return body;
  }

  std::unique_ptr<Statement> statement(Statement::Kind kind) const {
    auto s = std::make_unique<Statement>();
    s->kind = kind;
    s->line = now().line;
    return s;
  }

  std::unique_ptr<Statement> block() {
    if (now().kind != Kind::Name) unexpected();
    if (is_name("if")) return if_block();
    if (is_name("for")) return for_block();
    if (is_name("set")) return set_block();
    if (is_name("macro")) return macro_block();
    if (is_name("call")) return call_block();
    if (is_name("filter")) return filter_block();
    if (is_name("with")) return with_block();
    if (is_name("generation")) return generation_block();
    if (is_one_of({"break", "continue"})) {
      if (loops_ == 0) context_.error("'{}' outside a loop", now().text);
      auto s = statement(is_name("break") ? Statement::Kind::Break : Statement::Kind::Continue);
      take();
      expect_block_end();
      return s;
    }
    context_.error("the statement '{}' is not supported", now().text.substr(0, 40));
  }

  /// The statements of a block after its opening tag, and the closing tag.
  Body body_until(std::string_view end) {
    expect_block_end();
    Body body = statements({end});
    take();
    expect_block_end();
    return body;
  }

  std::unique_ptr<Statement> if_block() {
    auto s = statement(Statement::Kind::If);
    do {
      take();  // if, elif
      ExpressionPtr condition = tuple(false);
      expect_block_end();
      s->branches.emplace_back(std::move(condition), statements({"elif", "else", "endif"}));
    } while (is_name("elif"));
    if (skip_name("else")) {
      expect_block_end();
      s->otherwise = statements({"endif"});
    }
    if (!skip_name("endif")) unexpected();
    expect_block_end();
    return s;
  }

  std::unique_ptr<Statement> for_block() {
    auto s = statement(Statement::Kind::For);
    take();
    s->target = target_list("in");
    if (!skip_name("in")) unexpected();
    s->value = tuple(false);
    if (skip_name("if")) s->condition = expression();
    if (is_name("recursive")) context_.error("recursive loops are not supported");
    expect_block_end();
    ++loops_;
    s->body = statements({"else", "endfor"});
    --loops_;
    if (skip_name("else")) {
      expect_block_end();
      s->otherwise = statements({"endfor"});
    }
    if (!skip_name("endfor")) unexpected();
    expect_block_end();
    return s;
  }

  std::unique_ptr<Statement> set_block() {
    auto s = statement(Statement::Kind::Set);
    take();
    s->target = target_list("");
    if (skip_op("=")) {
      s->value = tuple(true);
      expect_block_end();
      return s;
    }
    s->kind = Statement::Kind::SetBlock;
    if (is_op("|")) s->value = filters(nullptr, false);
    s->body = body_until("endset");
    return s;
  }

  /// Runs `read` with names noted for the macro that it is the body of.
  template <typename Read>
  void inside_macro(Macro& macro, Read read) {
    const int loops = std::exchange(loops_, 0);
    macros_.push_back(&macro);
    read();
    macros_.pop_back();
    loops_ = loops;
  }

  void signature(Macro& macro) {
    expect_op("(");
    while (!is_op(")")) {
      if (!macro.parameters.empty()) expect_op(",");
      if (is_op(")")) break;
      Parameter p;
      p.name = expect_name();
      if (skip_op("=")) {
        p.otherwise = expression();
      } else if (!macro.parameters.empty() && macro.parameters.back().otherwise) {
        context_.error("a parameter without a default follows one with");
      }
      macro.parameters.push_back(std::move(p));
    }
    take();
  }

  std::unique_ptr<Statement> macro_block() {
    auto s = statement(Statement::Kind::Define);
    take();
    auto macro = std::make_shared<Macro>();
    macro->name = expect_name();
    signature(*macro);
    inside_macro(*macro, [&] { macro->body = body_until("endmacro"); });
    s->macro = std::move(macro);
    return s;
  }

  std::unique_ptr<Statement> call_block() {
    auto s = statement(Statement::Kind::CallBlock);
    take();
    auto macro = std::make_shared<Macro>();
    macro->name = "caller";
    if (is_op("(")) signature(*macro);
    s->value = expression();
    if (s->value->kind != Expr::Call) context_.error("'call' needs a call");
    inside_macro(*macro, [&] { macro->body = body_until("endcall"); });
    s->macro = std::move(macro);
    return s;
  }

  std::unique_ptr<Statement> filter_block() {
    auto s = statement(Statement::Kind::Filter);
    take();
    s->value = filters(nullptr, true);
    s->body = body_until("endfilter");
    return s;
  }

  std::unique_ptr<Statement> with_block() {
    auto s = statement(Statement::Kind::With);
    take();
    while (now().kind != Kind::BlockEnd) {
      if (!s->assignments.empty()) expect_op(",");
      Target t = one_target();
      expect_op("=");
      s->assignments.emplace_back(std::move(t), expression());
    }
    s->body = body_until("endwith");
    return s;
  }

  /// transformers' tag around what the assistant says; it only matters for training.
  std::unique_ptr<Statement> generation_block() {
    auto s = statement(Statement::Kind::Scope);
    take();
    const int loops = std::exchange(loops_, 0);
    s->body = body_until("endgeneration");
    loops_ = loops;
    return s;
  }

  // --- targets
  Target one_target() {
    const Context::Level level(context_);
    Target t;
    if (is_op("(") || is_op("[")) {
      const std::string_view close = take().text == "(" ? ")" : "]";
      t = target_list("");
      expect_op(close);
      return t;
    }
    t.name = expect_name();
    for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (t.name == reserved) context_.error("cannot assign to '{}'", reserved);
    }
    if (skip_op(".")) t.attribute = expect_name();
    return t;
  }

  Target target_list(std::string_view end) {
    Target first = one_target();
    if (!is_op(",")) return first;
    Target all;
    all.parts.push_back(std::move(first));
    while (skip_op(",")) {
      if (now().kind != Kind::Name && !is_op("(")) break;
      if (!end.empty() && is_name(end)) break;
      all.parts.push_back(one_target());
    }
    return all;
  }

  // --- expressions
  bool ends_tuple() const {
    return now().kind == Kind::PrintEnd || now().kind == Kind::BlockEnd || is_op(")") || is_name("recursive");
  }

  /// One expression, or several with commas between: a tuple. With conditions, "a if b else c" may stand in it.
  ExpressionPtr tuple(bool conditions, bool in_parentheses = false) {
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

  ExpressionPtr expression() {
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

  ExpressionPtr either() {
    ExpressionPtr left = both();
    while (skip_name("or")) left = binary("or", std::move(left), both());
    return left;
  }

  ExpressionPtr both() {
    ExpressionPtr left = negation();
    while (skip_name("and")) left = binary("and", std::move(left), negation());
    return left;
  }

  ExpressionPtr negation() {
    if (!is_name("not")) return comparison();
    const Context::Level level(context_);
    auto e = node(Expr::Unary, take().line, "not");
    adopt(*e, negation());
    return e;
  }

  ExpressionPtr comparison() {
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

  ExpressionPtr sum() {
    ExpressionPtr left = concatenation();
    while (is_op("+") || is_op("-")) {
      std::string op = take().text;
      left = binary(std::move(op), std::move(left), concatenation());
    }
    return left;
  }

  ExpressionPtr concatenation() {
    ExpressionPtr left = product();
    while (skip_op("~")) left = binary("~", std::move(left), product());
    return left;
  }

  ExpressionPtr product() {
    ExpressionPtr left = power();
    while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
      std::string op = take().text;
      left = binary(std::move(op), std::move(left), power());
    }
    return left;
  }

  ExpressionPtr power() {
    ExpressionPtr left = unary(true);
    while (skip_op("**")) left = binary("**", std::move(left), unary(true));
    return left;
  }

  ExpressionPtr unary(bool with_filters) {
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

  ExpressionPtr constant(Value value) {
    auto e = node(Expr::Constant, now().line);
    e->constant = std::move(value);
    return e;
  }

  ExpressionPtr primary() {
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

  ExpressionPtr name() {
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

  ExpressionPtr number() {
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

  ExpressionPtr list() {
    auto e = node(Expr::List, take().line);
    while (!is_op("]")) {
      if (!e->parts.empty()) expect_op(",");
      if (is_op("]")) break;
      adopt(*e, expression());
    }
    take();
    return e;
  }

  ExpressionPtr dict() {
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

  ExpressionPtr postfix(ExpressionPtr e) {
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

  ExpressionPtr subscript(ExpressionPtr value) {
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

  void arguments(Expression& e) {
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

  ExpressionPtr call(ExpressionPtr function) {
    auto e = node(Expr::Call, now().line);
    adopt(*e, std::move(function));
    arguments(*e);
    return e;
  }

  ExpressionPtr filters_and_tests(ExpressionPtr e) {
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

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_op(".")) name += "." + expect_name();
    return name;
  }

  /// A chain of filters. In a filter block the first has no "|" before it, and the innermost value is null.
  ExpressionPtr filters(ExpressionPtr value, bool first_is_bare) {
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

  ExpressionPtr test(ExpressionPtr value) {
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

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int loops_ = 0;               // that the current statement is inside of
  std::vector<Macro*> macros_;  // likewise
  mutable Context context_;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace lowbit::jinja
