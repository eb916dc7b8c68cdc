#include "text/jinja_parse.h"

#include <charconv>
#include <initializer_list>

#include "base/error.h"
#include "text/jinja_lex.h"

namespace lowbit::jinja {
namespace {

constexpr int kMostNesting = 100;
using Kind = Token::Kind;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(lex(source)) {}

  Body parse_all() {
    Body out = parse_body({});
    if (peek().kind != Kind::End) wrong("does not belong here");
    return out;
  }

 private:
  // --- words
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(Kind kind, std::string_view text) const { return peek().kind == kind && peek().text == text; }
  bool accept(Kind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    take();
    return true;
  }
  bool accept(std::string_view op) { return accept(Kind::Operator, op); }
  void expect(std::string_view op) {
    if (!accept(op)) wrong(fmt::format("stands where {} should", op));
  }
  void end_block() {
    if (take().kind != Kind::EndBlock) wrong("stands where the tag should end");
  }
  std::string name() {
    if (peek().kind != Kind::Name) wrong("stands where a name should");
    return take().text;
  }
  [[noreturn]] void wrong(std::string_view what) const {
    fail("chat template, line {}: {} {}", peek().line,
         peek().text.empty() ? "the end of a tag" : "\"" + peek().text.substr(0, 40) + "\"", what);
  }

  struct Depth {
    explicit Depth(Parser& parser) : p(parser) {
      if (++p.depth_ > kMostNesting) fail("chat template, line {}: is nested too deeply", p.peek().line);
    }
    ~Depth() { --p.depth_; }
    Parser& p;
  };

  // --- statements
  bool at_tag(std::initializer_list<std::string_view> names) const {
    if (peek().kind != Kind::BeginBlock) return false;
    for (const std::string_view n : names) {
      if (peek(1).kind == Kind::Name && peek(1).text == n) return true;
    }
    return false;
  }

  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    Body out;
    while (peek().kind != Kind::End && !at_tag(ends)) {
      if (peek().kind == Kind::Text) {
        Node node;
        node.line = peek().line;
        node.text = take().text;
        out.push_back(std::move(node));
      } else if (peek().kind == Kind::BeginOutput) {
        Node node;
        node.kind = Node::Kind::Output;
        node.line = take().line;
        node.values.push_back(parse_expr());
        if (take().kind != Kind::EndOutput) wrong("stands where the output should end");
        out.push_back(std::move(node));
      } else if (peek().kind == Kind::BeginBlock) {
        out.push_back(parse_statement());
      } else {
        wrong("does not belong here");
      }
    }
    return out;
  }

  void close(std::string_view tag) {
    if (!at_tag({tag})) wrong(fmt::format("stands where {} should", tag));
    take();
    take();
    end_block();
  }

  Node parse_statement() {
    Node node;
    node.line = take().line;
    const std::string tag = name();
    if (tag == "if") return parse_if(std::move(node));
    if (tag == "for") return parse_for(std::move(node));
    if (tag == "set") return parse_set(std::move(node));
    if (tag == "macro") return parse_macro(std::move(node));
    if (tag == "break" || tag == "continue") {
      node.kind = tag == "break" ? Node::Kind::Break : Node::Kind::Continue;
      end_block();
      return node;
    }
    if (tag == "generation") {  // marks the assistant's part for training; prints as it is
      end_block();
      node.kind = Node::Kind::Block;
      node.bodies.push_back(parse_body({"endgeneration"}));
      close("endgeneration");
      return node;
    }
    fail("chat template, line {}: the statement {} is not supported", node.line, tag);
  }

  Node parse_if(Node node) {
    node.kind = Node::Kind::If;
    node.values.push_back(parse_expr());
    end_block();
    for (;;) {
      node.bodies.push_back(parse_body({"elif", "else", "endif"}));
      if (at_tag({"elif"})) {
        take();
        take();
        node.values.push_back(parse_expr());
        end_block();
      } else if (at_tag({"else"})) {
        close("else");
        node.bodies.push_back(parse_body({"endif"}));
        close("endif");
        return node;
      } else {
        close("endif");
        return node;
      }
    }
  }

  Node parse_for(Node node) {
    node.kind = Node::Kind::For;
    do {
      node.names.push_back(name());
    } while (accept(","));
    if (!accept(Kind::Name, "in")) wrong("stands where in should");
    node.values.push_back(parse_or());
    node.values.push_back(accept(Kind::Name, "if") ? parse_expr() : nullptr);
    end_block();
    node.bodies.push_back(parse_body({"else", "endfor"}));
    if (at_tag({"else"})) {
      close("else");
      node.bodies.push_back(parse_body({"endfor"}));
    }
    close("endfor");
    return node;
  }

  Node parse_set(Node node) {
    node.kind = Node::Kind::Set;
    node.names.push_back(name());
    if (accept(".")) {
      node.text = node.names.back();
      node.names.back() = name();
    }
    while (accept(",")) node.names.push_back(name());
    if (accept("=")) {
      node.values.push_back(parse_tuple());
      end_block();
    } else {
      end_block();
      node.bodies.push_back(parse_body({"endset"}));
      close("endset");
    }
    return node;
  }

  Node parse_macro(Node node) {
    node.kind = Node::Kind::Macro;
    node.text = name();
    expect("(");
    while (!accept(")")) {
      node.names.push_back(name());
      node.values.push_back(accept("=") ? parse_expr() : nullptr);
      if (!is(Kind::Operator, ")")) expect(",");
    }
    end_block();
    node.bodies.push_back(parse_body({"endmacro"}));
    close("endmacro");
    return node;
  }

  // --- expressions, loosest first
  ExprPtr make(Expr::Kind kind, std::string text = {}) const {
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->line = peek().line;
    e->text = std::move(text);
    return e;
  }
  ExprPtr binary(std::string op, ExprPtr left, ExprPtr right) const {
    ExprPtr e = make(Expr::Kind::Binary, std::move(op));
    e->parts.push_back(std::move(left));
    e->parts.push_back(std::move(right));
    return e;
  }

  ExprPtr parse_tuple() {
    ExprPtr first = parse_expr();
    if (!is(Kind::Operator, ",")) return first;
    ExprPtr list = make(Expr::Kind::List);
    list->parts.push_back(std::move(first));
    while (accept(",")) list->parts.push_back(parse_expr());
    return list;
  }

  ExprPtr parse_expr() {
    const Depth depth(*this);
    ExprPtr value = parse_or();
    if (!accept(Kind::Name, "if")) return value;
    ExprPtr e = make(Expr::Kind::Conditional);
    e->parts.push_back(std::move(value));
    e->parts.push_back(parse_or());
    e->parts.push_back(accept(Kind::Name, "else") ? parse_expr() : nullptr);
    return e;
  }

  ExprPtr parse_or() {
    ExprPtr left = parse_and();
    while (accept(Kind::Name, "or")) left = binary("or", std::move(left), parse_and());
    return left;
  }
  ExprPtr parse_and() {
    ExprPtr left = parse_not();
    while (accept(Kind::Name, "and")) left = binary("and", std::move(left), parse_not());
    return left;
  }
  ExprPtr parse_not() {
    if (!accept(Kind::Name, "not")) return parse_comparison();
    const Depth depth(*this);
    ExprPtr e = make(Expr::Kind::Unary, "not");
    e->parts.push_back(parse_not());
    return e;
  }

  ExprPtr parse_comparison() {
    ExprPtr left = parse_sum();
    for (;;) {
      bool found = false;
      for (const char* op : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (!found && accept(op)) {
          left = binary(op, std::move(left), parse_sum());
          found = true;
        }
      }
      if (!found && accept(Kind::Name, "in")) {
        left = binary("in", std::move(left), parse_sum());
        found = true;
      }
      if (!found && is(Kind::Name, "not") && peek(1).kind == Kind::Name && peek(1).text == "in") {
        take();
        take();
        left = binary("not in", std::move(left), parse_sum());
        found = true;
      }
      if (!found && accept(Kind::Name, "is")) {
        left = parse_test(std::move(left));
        found = true;
      }
      if (!found) return left;
    }
  }

  ExprPtr parse_test(ExprPtr value) {
    const bool negated = accept(Kind::Name, "not");
    ExprPtr test = make(Expr::Kind::Test, name());
    test->parts.push_back(std::move(value));
    if (is(Kind::Operator, "(")) {
      parse_arguments(*test);
    } else if (peek().kind == Kind::String || peek().kind == Kind::Number) {
      test->arguments.push_back({"", parse_primary()});
    }
    if (!negated) return test;
    ExprPtr e = make(Expr::Kind::Unary, "not");
    e->parts.push_back(std::move(test));
    return e;
  }

  ExprPtr parse_sum() {
    ExprPtr left = parse_concat();
    for (;;) {
      if (accept("+"))
        left = binary("+", std::move(left), parse_concat());
      else if (accept("-"))
        left = binary("-", std::move(left), parse_concat());
      else
        return left;
    }
  }
  ExprPtr parse_concat() {
    ExprPtr left = parse_product();
    while (accept("~")) left = binary("~", std::move(left), parse_product());
    return left;
  }
  ExprPtr parse_product() {
    ExprPtr left = parse_unary();
    for (;;) {
      bool found = false;
      for (const char* op : {"*", "//", "/", "%"}) {
        if (!found && accept(op)) {
          left = binary(op, std::move(left), parse_unary());
          found = true;
        }
      }
      if (!found) return left;
    }
  }
  ExprPtr parse_unary() {
    if (!is(Kind::Operator, "-") && !is(Kind::Operator, "+")) return parse_postfix(parse_primary());
    const Depth depth(*this);
    ExprPtr e = make(Expr::Kind::Unary, take().text);
    e->parts.push_back(parse_unary());
    return e;
  }

  ExprPtr parse_primary() {
    const Depth depth(*this);
    const Token t = take();
    ExprPtr e = make(Expr::Kind::Literal);
    e->line = t.line;
    switch (t.kind) {
      case Kind::String:
        e->literal = t.text;
        while (peek().kind == Kind::String) e->literal = e->literal.get<std::string>() + take().text;
        return e;
      case Kind::Number:
        return number(t, std::move(e));
      case Kind::Name:
        if (t.text == "true" || t.text == "True")
          e->literal = true;
        else if (t.text == "false" || t.text == "False")
          e->literal = false;
        else if (t.text == "none" || t.text == "None")
          e->literal = nullptr;
        else {
          e->kind = Expr::Kind::Variable;
          e->text = t.text;
        }
        return e;
      default:
        break;
    }
    if (t.kind == Kind::Operator && t.text == "(") {
      e = parse_tuple();
      expect(")");
      return e;
    }
    if (t.kind == Kind::Operator && t.text == "[") return parse_list(std::move(e));
    if (t.kind == Kind::Operator && t.text == "{") return parse_dict(std::move(e));
    --at_;
    wrong("stands where a value should");
  }

  static ExprPtr number(const Token& t, ExprPtr e) {
    if (t.text.find('.') != std::string::npos) {
      double value = 0;
      std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
      e->literal = value;
    } else {
      int64_t value = 0;
      std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
      e->literal = value;
    }
    return e;
  }

  ExprPtr parse_list(ExprPtr e) {
    e->kind = Expr::Kind::List;
    while (!accept("]")) {
      e->parts.push_back(parse_expr());
      if (!is(Kind::Operator, "]")) expect(",");
    }
    return e;
  }
  ExprPtr parse_dict(ExprPtr e) {
    e->kind = Expr::Kind::Dict;
    while (!accept("}")) {
      e->parts.push_back(parse_expr());
      expect(":");
      e->parts.push_back(parse_expr());
      if (!is(Kind::Operator, "}")) expect(",");
    }
    return e;
  }

  void parse_arguments(Expr& call) {
    expect("(");
    while (!accept(")")) {
      Argument argument;
      if (peek().kind == Kind::Name && peek(1).kind == Kind::Operator && peek(1).text == "=") {
        argument.name = name();
        take();
      }
      argument.value = parse_expr();
      call.arguments.push_back(std::move(argument));
      if (!is(Kind::Operator, ")")) expect(",");
    }
  }

  ExprPtr wrap(Expr::Kind kind, std::string text, ExprPtr object) {
    ExprPtr e = make(kind, std::move(text));
    e->parts.push_back(std::move(object));
    return e;
  }

  ExprPtr parse_postfix(ExprPtr e) {
    for (int links = 0;; ++links) {
      if (links > kMostNesting) fail("chat template, line {}: is nested too deeply", peek().line);
      if (accept(".")) {
        e = wrap(Expr::Kind::Attribute, peek().kind == Kind::Number ? take().text : name(), std::move(e));
      } else if (is(Kind::Operator, "(")) {
        e = wrap(Expr::Kind::Call, "", std::move(e));
        parse_arguments(*e);
      } else if (accept("[")) {
        e = parse_subscript(std::move(e));
      } else if (accept("|")) {
        e = wrap(Expr::Kind::Filter, name(), std::move(e));
        if (is(Kind::Operator, "(")) parse_arguments(*e);
      } else {
        return e;
      }
    }
  }

  ExprPtr parse_subscript(ExprPtr object) {
    ExprPtr e = wrap(Expr::Kind::Subscript, "", std::move(object));
    ExprPtr bounds[3];
    int n = 0;
    bool slice = false;
    while (!accept("]")) {
      if (accept(":")) {
        slice = true;
        if (++n > 2) wrong("stands in a slice of more than three parts");
      } else {
        bounds[n] = parse_expr();
      }
    }
    if (!slice && !bounds[0]) wrong("follows an empty subscript");
    e->kind = slice ? Expr::Kind::Slice : Expr::Kind::Subscript;
    for (int i = 0; i < (slice ? 3 : 1); ++i) e->parts.push_back(std::move(bounds[i]));
    return e;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Body parse(std::string_view source) { return Parser(source).parse_all(); }

}  // namespace lowbit::jinja
