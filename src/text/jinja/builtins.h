// What templates can use: filters, tests, methods of values, functions, and the operators on values.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace lowbit::jinja {

using Filter = Value (*)(Interpreter&, const Value&, Arguments&);
using Test = bool (*)(Interpreter&, const Value&, Arguments&);

/// By name. Throws Error for a name that is not supported.
Filter find_filter(std::string_view name, Context& context);
Test find_test(std::string_view name, Context& context);
/// A method of a string, list or dict, bound to it; nullopt if Python's type has no such attribute. Error for one that
/// Python has and this does not.
std::optional<Value> find_method(const Value& self, const std::string& name, Context& context);
/// Adds range, dict, namespace, raise_exception, strftime_now, joiner and cycler.
void define_functions(Interpreter& interpreter);

/// The operators + - * / // % ** ~ with Python's meaning. Error where Python has one, and beyond 64 bits.
Value arithmetic(std::string_view op, const Value& a, const Value& b, Context& context);
/// Python's "..." % values, with %s, %d, %i and %%.
std::string percent_format(const std::string& format, const Value& values, Context& context);
/// Python's value[begin:end:step].
Value slice(const Value& value, const Value& begin, const Value& end, const Value& step, Context& context);

/// Arguments matched to the names of parameters. Throws Error on too many, unknown or doubled ones.
class Bound {
 public:
  Bound(std::string_view function, Arguments& arguments, std::initializer_list<std::string_view> names,
        Context& context);
  /// The argument, or nullptr if it was not given.
  const Value* operator[](size_t i) const { return values_[i]; }
  /// It, of the wanted kind, or the default. Throws Error on another kind.
  const std::string& text(size_t i) const;
  std::string text_or(size_t i, std::string_view otherwise) const;
  int64_t integer_or(size_t i, int64_t otherwise) const;
  bool truthy_or(size_t i, bool otherwise) const { return values_[i] ? values_[i]->truthy() : otherwise; }
  bool given(size_t i) const { return values_[i] && !values_[i]->is_none(); }
  const Value& required(size_t i) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
  Context& context_;
};

}  // namespace lowbit::jinja
