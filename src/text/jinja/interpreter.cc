#include "text/jinja/interpreter.h"

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

using Expr = Expression::Kind;
using Stmt = Statement::Kind;

/// Puts a scope in place of the current one while it lives.
class Within {
 public:
  Within(std::shared_ptr<Scope>& current, std::shared_ptr<Scope> next) : current_(current), saved_(std::move(next)) {
    std::swap(current_, saved_);
  }
  ~Within() { std::swap(current_, saved_); }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  std::shared_ptr<Scope>& current_;
  std::shared_ptr<Scope> saved_;
};

std::shared_ptr<Scope> child_of(const std::shared_ptr<Scope>& parent) {
  auto scope = std::make_shared<Scope>();
  scope->parent = parent;
  return scope;
}

/// A name in the message of an undefined value, which is kept as long as the value is.
std::string shown(const std::string& name) { return name.substr(0, 100); }

std::string name_of_missing(const Value& value, Context& context) {
  const auto& what = value.undefined_info().what;
  context.step();
  return what ? *what : "a value";
}

}  // namespace

Interpreter::Interpreter(Context& context, std::optional<std::time_t> now) : context_(context), now_(now) {
  define_functions(*this);
  scope_ = child_of(scope_);
}

Interpreter::~Interpreter() {
  scope_.reset();
  for (const auto& scope : captured_) {
    scope->names.clear();
    scope->parent.reset();
  }
  for (const auto& space : namespaces_) space->items.clear();
  for (const auto& loop : loops_) {
    loop->items.clear();
    loop->changed.clear();
  }
}

void Interpreter::define(std::string name, Value value) { set(name, std::move(value)); }

std::string Interpreter::render(const Body& body) {
  std::string out;
  run(body, out);
  return out;
}

void Interpreter::print(const std::string& text, std::string& out) {
  context_.charge(text.size());
  out += text;
}

// --- statements

Interpreter::Flow Interpreter::run(const Body& body, std::string& out) {
  for (const auto& statement : body) {
    const Flow flow = run(*statement, out);
    if (flow != Flow::Next) return flow;
  }
  return Flow::Next;
}

Interpreter::Flow Interpreter::run(const Statement& s, std::string& out) {
  const Context::Level level(context_);
  context_.step();
  context_.line = s.line;
  switch (s.kind) {
    case Stmt::Text:
      print(s.text, out);
      return Flow::Next;
    case Stmt::Print:
      out += to_text(evaluate(*s.value), context_);
      return Flow::Next;
    case Stmt::If:
      return run_if(s, out);
    case Stmt::For:
      return run_for(s, out);
    case Stmt::Set:
      assign(s.target, evaluate(*s.value));
      return Flow::Next;
    case Stmt::SetBlock: {
      Value text = run_inner(s.body);
      assign(s.target, s.value ? evaluate_filter(*s.value, &text) : text);
      return Flow::Next;
    }
    case Stmt::Define:
      set(s.macro->name, make_macro(s.macro));
      return Flow::Next;
    case Stmt::CallBlock:
      run_call_block(s, out);
      return Flow::Next;
    case Stmt::Filter: {
      const Value text = run_inner(s.body);
      out += to_text(evaluate_filter(*s.value, &text), context_);
      return Flow::Next;
    }
    case Stmt::With: {
      auto inner = child_of(scope_);
      std::vector<Value> values;
      for (const auto& [target, value] : s.assignments) values.push_back(evaluate(*value));
      const Within within(scope_, inner);
      for (size_t i = 0; i < values.size(); ++i) assign(s.assignments[i].first, values[i]);
      return run(s.body, out);
    }
    case Stmt::Scope:
      out += run_inner(s.body);
      return Flow::Next;
    case Stmt::Break:
      return Flow::Break;
    case Stmt::Continue:
      return Flow::Continue;
  }
  return Flow::Next;
}

std::string Interpreter::run_inner(const Body& body) {
  const Within within(scope_, child_of(scope_));
  std::string out;
  run(body, out);
  return out;
}

Interpreter::Flow Interpreter::run_if(const Statement& s, std::string& out) {
  for (const auto& [condition, body] : s.branches) {
    if (evaluate(*condition).truthy()) return run(body, out);
  }
  return run(s.otherwise, out);
}

std::vector<Value> Interpreter::loop_items(const Statement& s) {
  std::vector<Value> items = iterate(evaluate(*s.value), context_);
  if (!s.condition) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const Within within(scope_, child_of(scope_));
    assign(s.target, item);
    if (evaluate(*s.condition).truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::run_for(const Statement& s, std::string& out) {
  auto loop = std::make_shared<Loop>();
  context_.charge(sizeof(Loop));
  loops_.push_back(loop);
  loop->items = loop_items(s);
  if (loop->items.empty()) {
    const Within within(scope_, child_of(scope_));
    return run(s.otherwise, out);
  }
  for (loop->index = 0; loop->index < loop->items.size(); ++loop->index) {
    const Within within(scope_, child_of(scope_));
    set("loop", loop);
    assign(s.target, loop->items[loop->index]);
    if (run(s.body, out) == Flow::Break) break;
  }
  return Flow::Next;
}

void Interpreter::run_call_block(const Statement& s, std::string& out) {
  Arguments arguments = evaluate_arguments(s.value->arguments);
  arguments.named.emplace_back("caller", make_macro(s.macro));
  out += to_text(call(evaluate(*s.value->parts[0]), arguments), context_);
}

void Interpreter::set(const std::string& name, Value value) {
  context_.step(scope_->names.size() / 16);
  for (auto& [known, old] : scope_->names) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  context_.charge(sizeof(scope_->names[0]));
  scope_->names.emplace_back(name, std::move(value));
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = iterate(value, context_);
    if (items.size() != target.parts.size()) {
      context_.error("{} values cannot be assigned to {} names", items.size(), target.parts.size());
    }
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
  } else if (target.attribute.empty()) {
    set(target.name, value);
  } else {
    const Value holder = lookup(target.name);
    Namespace* space = holder.name_space();
    if (!space)
      context_.error("cannot set '{}.{}': only a namespace has attributes to set", target.name, target.attribute);
    if (target.attribute.starts_with('_')) context_.error("a namespace cannot hold '{}'", target.attribute);
    context_.step(space->items.size() / 16);
    for (auto& [name, old] : space->items) {
      if (name != target.attribute) continue;
      old = value;
      return;
    }
    context_.charge(sizeof(space->items[0]));
    space->items.emplace_back(target.attribute, value);
  }
}

Value Interpreter::make_namespace(Namespace content) {
  for (const auto& [name, value] : content.items) {
    if (name.starts_with('_')) context_.error("a namespace cannot hold '{}'", name);
  }
  auto space = std::make_shared<Namespace>(std::move(content));
  namespaces_.push_back(space);
  context_.charge(sizeof(Namespace));
  return space;
}

// --- macros

Value Interpreter::make_macro(std::shared_ptr<const Macro> macro) {
  context_.charge(sizeof(Scope));
  captured_.push_back(scope_);
  // The scope and the macro hold each other until the scope is emptied at the end.
  return Function{macro->name, [macro, closure = scope_](Interpreter& interpreter, Arguments& arguments) {
                    return interpreter.run_macro(*macro, closure, arguments);
                  }};
}

void Interpreter::bind(const Macro& macro, Arguments& arguments) {
  const auto given = [&](const std::string& name) -> Value* {
    context_.step(1 + arguments.named.size() / 16);
    for (auto& [known, value] : arguments.named) {
      if (known == name) return &value;
    }
    return nullptr;
  };
  size_t used = 0;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& p = macro.parameters[i];
    Value* named = given(p.name);
    if (named && i < arguments.positional.size()) context_.error("{}: '{}' is given twice", macro.name, p.name);
    used += named ? 1 : 0;
    if (i < arguments.positional.size()) {
      set(p.name, arguments.positional[i]);
    } else if (named) {
      set(p.name, *named);
    } else {
      set(p.name, p.otherwise ? evaluate(*p.otherwise)
                              : Value::undefined(fmt::format("parameter '{}' was not provided", p.name)));
    }
  }
  if (Value* caller = given("caller"); caller && macro.uses_caller) {
    set("caller", *caller);
    ++used;
  } else if (macro.uses_caller) {
    set("caller", Value::undefined("No caller defined"));
  }
  std::vector<Value> rest;
  for (size_t i = macro.parameters.size(); i < arguments.positional.size(); ++i)
    rest.push_back(arguments.positional[i]);
  if (!rest.empty() && !macro.uses_varargs) {
    context_.error("{} takes {} arguments, not {}", macro.name, macro.parameters.size(), arguments.positional.size());
  }
  if (macro.uses_varargs) set("varargs", Value::list(std::move(rest), List::Kind::Tuple));
  if (!macro.uses_kwargs && used < arguments.named.size())
    context_.error("{}: an unknown argument is named", macro.name);
  if (!macro.uses_kwargs) return;
  Dict others;
  for (auto& [name, value] : arguments.named) {
    context_.step(1 + macro.parameters.size() / 16);
    const bool known = std::any_of(macro.parameters.begin(), macro.parameters.end(),
                                   [&, &n = name](const Parameter& p) { return p.name == n; });
    if (!known && !(name == "caller" && macro.uses_caller)) others.items.emplace_back(Value(name), value);
  }
  set("kwargs", std::move(others));
}

Value Interpreter::run_macro(const Macro& macro, const std::shared_ptr<Scope>& closure, Arguments& arguments) {
  const Context::Level level(context_);
  const Within within(scope_, child_of(closure));
  bind(macro, arguments);
  std::string out;
  run(macro.body, out);
  return out;
}

Value Interpreter::call(const Value& function, Arguments& arguments) {
  if (function.is_undefined()) context_.error("{}", name_of_missing(function, context_));
  if (!function.function()) context_.error("a value of type {} cannot be called", function.type_name());
  const Value kept = function;  // its own name may be set anew while it runs
  const int line = context_.line;
  Value result = kept.function()->call(*this, arguments);
  context_.line = line;
  return result;
}

// --- expressions

Value Interpreter::lookup(const std::string& name) const {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    context_.step(1 + scope->names.size() / 16);
    for (const auto& [known, value] : scope->names) {
      if (known == name) return value;
    }
  }
  return Value::undefined(fmt::format("'{}' is undefined", name));
}

std::vector<Value> Interpreter::evaluate_all(const std::vector<ExpressionPtr>& parts) {
  std::vector<Value> values;
  for (const auto& part : parts) values.push_back(evaluate(*part));
  context_.charge(values.size() * sizeof(Value));
  return values;
}

Value Interpreter::evaluate_dict(const Expression& e) {
  Dict dict;
  for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
    const Value key = evaluate(*e.parts[i]);
    jinja::assign(dict, key, evaluate(*e.parts[i + 1]), context_);
  }
  return dict;
}

Value Interpreter::evaluate(const Expression& e) {
  const Context::Level level(context_);
  context_.step();
  context_.line = e.line;
  switch (e.kind) {
    case Expr::Constant:
      return e.constant;
    case Expr::Name:
      return lookup(e.name);
    case Expr::List:
      return Value::list(evaluate_all(e.parts));
    case Expr::Tuple:
      return Value::list(evaluate_all(e.parts), List::Kind::Tuple);
    case Expr::Dict:
      return evaluate_dict(e);
    case Expr::Attribute:
      return attribute(evaluate(*e.parts[0]), e.name);
    case Expr::Item: {
      const Value value = evaluate(*e.parts[0]);
      return item(value, evaluate(*e.parts[1]));
    }
    case Expr::Slice:
      return evaluate_slice(e);
    case Expr::Call:
      return evaluate_call(e);
    case Expr::Filter:
      return evaluate_filter(e, nullptr);
    case Expr::Test:
      return evaluate_test(e);
    case Expr::Unary:
      return evaluate_unary(e);
    case Expr::Binary:
      return evaluate_binary(e);
    case Expr::Compare:
      return evaluate_compare(e);
    case Expr::Conditional:
      if (evaluate(*e.parts[0]).truthy()) return evaluate(*e.parts[1]);
      if (e.parts[2]) return evaluate(*e.parts[2]);
      return Value::undefined("the inline if-expression evaluated to false and no else section was defined");
  }
  return {};
}

Value Interpreter::evaluate_unary(const Expression& e) {
  const Value v = evaluate(*e.parts[0]);
  if (e.name == "not") return !v.truthy();
  if (!v.is_number()) context_.error("'{}' needs a number, not {}", e.name, v.type_name());
  if (v.is<double>()) return e.name == "+" ? v : Value(-v.number());
  return arithmetic(e.name, Value(int64_t{0}), v, context_);
}

Value Interpreter::evaluate_binary(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  if (e.name == "and") return left.truthy() ? evaluate(*e.parts[1]) : left;
  if (e.name == "or") return left.truthy() ? left : evaluate(*e.parts[1]);
  const Value right = evaluate(*e.parts[1]);
  context_.line = e.line;
  for (const Value* v : std::initializer_list<const Value*>{&left, &right}) {
    if (v->is_undefined() && e.name != "~") context_.error("{}", name_of_missing(*v, context_));
  }
  return arithmetic(e.name, left, right, context_);
}

bool Interpreter::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return equal(a, b, context_);
  if (op == "!=") return !equal(a, b, context_);
  if (op == "in") return contains(b, a, context_);
  if (op == "not in") return !contains(b, a, context_);
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined()) context_.error("{}", name_of_missing(*v, context_));
  }
  if (op == "<") return less(a, b, context_);
  if (op == ">") return less(b, a, context_);
  // Not the negation of the opposite: NaN is neither.
  if (op == "<=") return less(a, b, context_) || equal(a, b, context_);
  return less(b, a, context_) || equal(a, b, context_);
}

Value Interpreter::evaluate_compare(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1]);
    context_.line = e.line;
    if (!compare(e.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate_slice(const Expression& e) {
  const Value value = evaluate(*e.parts[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) bounds[i] = e.parts[i + 1] ? evaluate(*e.parts[i + 1]) : Value(None{});
  if (value.is_undefined()) context_.error("{}", name_of_missing(value, context_));
  return slice(value, bounds[0], bounds[1], bounds[2], context_);
}

Arguments Interpreter::evaluate_arguments(const std::vector<Argument>& arguments) {
  Arguments all;
  for (const Argument& a : arguments) {
    Value value = evaluate(*a.value);
    switch (a.kind) {
      case Argument::Kind::Positional:
        all.positional.push_back(std::move(value));
        break;
      case Argument::Kind::Named:
        all.named.emplace_back(a.name, std::move(value));
        break;
      case Argument::Kind::Star:
        for (Value& item : iterate(value, context_)) all.positional.push_back(std::move(item));
        break;
      case Argument::Kind::StarStar:
        if (!value.dict()) context_.error("what follows ** should be a dict, not {}", value.type_name());
        context_.step(value.dict()->items.size());
        for (const auto& [key, item] : value.dict()->items) {
          if (!key.text()) context_.error("the name of an argument should be a string, not {}", key.type_name());
          all.named.emplace_back(*key.text(), item);
        }
    }
  }
  return all;
}

Value Interpreter::evaluate_call(const Expression& e) {
  const Value function = evaluate(*e.parts[0]);
  Arguments arguments = evaluate_arguments(e.arguments);
  context_.line = e.line;
  return call(function, arguments);
}

Value Interpreter::evaluate_filter(const Expression& e, const Value* input) {
  const Context::Level level(context_);
  const Expression* inner = e.parts[0].get();
  Value value = !inner ? *input : inner->kind == Expr::Filter ? evaluate_filter(*inner, input) : evaluate(*inner);
  Arguments arguments = evaluate_arguments(e.arguments);
  context_.line = e.line;
  return find_filter(e.name, context_)(*this, value, arguments);
}

Value Interpreter::evaluate_test(const Expression& e) {
  const Value value = evaluate(*e.parts[0]);
  Arguments arguments = evaluate_arguments(e.arguments);
  context_.line = e.line;
  return find_test(e.name, context_)(*this, value, arguments);
}

// --- attributes and items

Value Interpreter::loop_attribute(const Value& value, const std::string& name) {
  const Loop& loop = *value.loop();
  const size_t n = loop.items.size(), i = loop.index;
  if (name == "index") return Value::integer(i + 1);
  if (name == "index0") return Value::integer(i);
  if (name == "revindex") return Value::integer(n - i);
  if (name == "revindex0") return Value::integer(n - i - 1);
  if (name == "first") return i == 0;
  if (name == "last") return i + 1 == n;
  if (name == "length") return Value::integer(n);
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem") return i > 0 ? loop.items[i - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return i + 1 < n ? loop.items[i + 1] : Value::undefined("there is no next item");
  if (name == "cycle") {
    return Function{name, [value](Interpreter& interpreter, Arguments& a) -> Value {
                      if (a.positional.empty()) interpreter.context().error("loop.cycle needs values");
                      return a.positional[value.loop()->index % a.positional.size()];
                    }};
  }
  if (name == "changed") {
    return Function{name, [value](Interpreter& interpreter, Arguments& a) -> Value {
                      std::vector<Value>& last = value.loop()->changed;
                      const Value before = Value::list(last), now = Value::list(a.positional);
                      const bool first = last.empty() && value.loop()->index == 0;
                      if (!first && equal(before, now, interpreter.context())) return false;
                      last = a.positional;
                      return true;
                    }};
  }
  return Value::undefined(fmt::format("'loop' has no attribute '{}'", shown(name)));
}

Value Interpreter::attribute(const Value& value, const std::string& name) {
  if (value.is_undefined()) context_.error("{}", name_of_missing(value, context_));
  if (value.loop()) return loop_attribute(value, name);
  if (const Namespace* space = value.name_space()) {
    context_.step(space->items.size() / 16);
    for (const auto& [known, content] : space->items) {
      if (same_text(known, name, context_)) return content;
    }
    return Value::undefined(fmt::format("the namespace has no attribute '{}'", shown(name)));
  }
  if (auto method = find_method(value, name, context_)) return *std::move(method);
  if (const Dict* dict = value.dict()) {
    if (const Value* found = find(*dict, Value(name), context_)) return *found;
  }
  return Value::undefined(fmt::format("a {} has no attribute '{}'", value.type_name(), shown(name)));
}

Value Interpreter::item(const Value& value, const Value& key) {
  if (value.is_undefined()) context_.error("{}", name_of_missing(value, context_));
  if (const Dict* dict = value.dict()) {
    if (const Value* found = find(*dict, key, context_)) return *found;
  }
  if (key.is_integer() && (value.text() || (value.list() && value.list()->kind <= List::Kind::Tuple))) {
    const auto n = static_cast<int64_t>(length(value, context_));
    const int64_t i = key.integer() < 0 ? key.integer() + n : key.integer();
    if (i < 0 || i >= n) return Value::undefined(fmt::format("a {} has no item {}", value.type_name(), key.integer()));
    if (value.list()) return value.list()->items[static_cast<size_t>(i)];
    return Text{code_point_at(*value.text(), static_cast<size_t>(i)), value.markup()};
  }
  // What is not an item may be an attribute.
  if (key.text() && !value.dict()) return attribute(value, *key.text());
  if (key.text()) {
    if (auto method = find_method(value, *key.text(), context_)) return *std::move(method);
  }
  return Value::undefined(fmt::format("a {} has no item {}", value.type_name(),
                                      key.text() ? "'" + shown(*key.text()) + "'" : std::string(key.type_name())));
}

}  // namespace lowbit::jinja
