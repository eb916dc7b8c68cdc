// Walks a template's tree.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"

namespace lowbit::jinja {

struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;
};

class Interpreter {
 public:
  /// `now` is what strftime_now tells; the clock's time if absent.
  Interpreter(Context& context, std::optional<std::time_t> now);
  ~Interpreter();

  /// Sets a variable that the template can read.
  void define(std::string name, Value value);
  std::string render(const Body& body);

  // What filters, tests and functions need.
  Context& context() { return context_; }
  std::time_t now() const { return now_.value_or(std::time(nullptr)); }
  Value call(const Value& function, Arguments& arguments);
  /// value.name and value[key] as Jinja looks them up: undefined if there is none.
  Value attribute(const Value& value, const std::string& name);
  Value item(const Value& value, const Value& key);
  /// Makes a namespace, whose content is let go of when rendering ends (it may hold itself).
  Value make_namespace(Namespace content);

 private:
  enum class Flow { Next, Break, Continue };

  Flow run(const Body& body, std::string& out);
  Flow run(const Statement& s, std::string& out);
  Flow run_for(const Statement& s, std::string& out);
  Flow run_if(const Statement& s, std::string& out);
  std::vector<Value> loop_items(const Statement& s);
  void run_call_block(const Statement& s, std::string& out);
  std::string run_inner(const Body& body);
  void print(const std::string& text, std::string& out);

  Value make_macro(std::shared_ptr<const Macro> macro);
  Value run_macro(const Macro& macro, const std::shared_ptr<Scope>& closure, Arguments& arguments);
  void bind(const Macro& macro, Arguments& arguments);

  Value evaluate(const Expression& e);
  Value evaluate_unary(const Expression& e);
  Value evaluate_binary(const Expression& e);
  Value evaluate_compare(const Expression& e);
  bool compare(const std::string& op, const Value& a, const Value& b);
  Value evaluate_slice(const Expression& e);
  Value evaluate_call(const Expression& e);
  Value evaluate_dict(const Expression& e);
  /// A filter's value; `input` replaces the innermost value of a filter block's chain.
  Value evaluate_filter(const Expression& e, const Value* input);
  Value evaluate_test(const Expression& e);
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& parts);
  Arguments evaluate_arguments(const std::vector<Argument>& arguments);
  Value lookup(const std::string& name) const;
  Value loop_attribute(const Value& value, const std::string& name);

  void assign(const Target& target, const Value& value);
  void set(const std::string& name, Value value);

  Context& context_;
  std::optional<std::time_t> now_;
  std::shared_ptr<Scope> scope_ = std::make_shared<Scope>();
  // What values can refer to in circles or in chains without end. All is kept until the end, and emptied then, so that
  // freeing one never frees the next from inside.
  std::vector<std::shared_ptr<Scope>> captured_;  // by macros
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Loop>> loops_;
};

}  // namespace lowbit::jinja
