#include "text/jinja/parser.h"

#include "text/jinja/expression_parser.h"

namespace lowbit::jinja {
namespace {

using Kind = Token::Kind;

/// Reads statements; ExpressionParser reads what stands in them.
class Parser : private ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {}

  Body run() {
    Body body = statements({});
    if (now().kind != Kind::End) unexpected();
    return body;
  }

 private:
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
    if (s->value->kind != Expression::Kind::Call) context_.error("'call' needs a call");
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

  int loops_ = 0;  // that the current statement is inside of
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace lowbit::jinja
