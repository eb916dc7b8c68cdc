// The functions that templates can call, and the tests after `is`.
#include <algorithm>
#include <array>
#include <ctime>

#include "text/jinja/builtins.h"
#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

Value range(Interpreter& in, Arguments& arguments) {
  Context& context = in.context();
  if (arguments.positional.empty() || arguments.positional.size() > 3 || !arguments.named.empty()) {
    context.error("range takes one to three integers");
  }
  int64_t bounds[3] = {0, 0, 1};
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    const Value& v = arguments.positional[i];
    if (!v.is_integer()) context.error("range needs integers, not {}", v.type_name());
    bounds[arguments.positional.size() == 1 ? 1 : i] = v.integer();
  }
  const auto [begin, end, step] = bounds;
  if (step == 0) context.error("range: the step cannot be zero");
  constexpr int64_t kMost = 100'000;  // as Jinja's sandbox
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (items.size() >= kMost) context.error("range: more than {} items", kMost);
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  context.step(items.size());
  context.charge(items.size() * sizeof(Value));
  return Value::list(std::move(items));
}

/// dict(mapping or pairs, key=value, ...)
Dict make_dict(Interpreter& in, Arguments& arguments) {
  Context& context = in.context();
  if (arguments.positional.size() > 1) context.error("dict takes at most one mapping");
  Dict dict;
  for (const Value& from : arguments.positional) {
    if (from.dict()) {
      dict = *from.dict();
    } else {
      for (const Value& pair : iterate(from, context)) {
        const std::vector<Value> both = iterate(pair, context);
        if (both.size() != 2) context.error("dict needs pairs");
        assign(dict, both[0], both[1], context);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) assign(dict, Value(name), value, context);
  context.charge(dict.items.size() * 2 * sizeof(Value));
  return dict;
}

Value make_namespace(Interpreter& in, Arguments& arguments) {
  Namespace space;
  for (const auto& [key, value] : make_dict(in, arguments).items) {
    if (!key.text()) in.context().error("the attributes of a namespace are named by strings");
    space.items.emplace_back(*key.text(), value);
  }
  return in.make_namespace(std::move(space));
}

Value raise_exception(Interpreter& in, Arguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, in.context());
  in.context().error("{}", to_text(bound.required(0), in.context()));
}

Value strftime_now(Interpreter& in, Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, in.context());
  const std::string& format = bound.text(0);
  if (format.size() > 200 || format.find('\0') != std::string::npos)
    in.context().error("strftime_now: the format is too long");
  const std::time_t now = in.now();
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 4096> buffer{};
  const size_t n = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  const std::string out(buffer.data(), n);
  return is_valid_utf8(out) ? out : std::string();
}

Value joiner(Interpreter& in, Arguments& arguments) {
  const Bound bound("joiner", arguments, {"sep"}, in.context());
  return Function{
      "joiner",
      [separator = bound.text_or(0, ", "), used = std::make_shared<bool>(false)](Interpreter&, Arguments&) -> Value {
        return std::exchange(*used, true) ? separator : std::string();
      }};
}

bool is_case(const Value& v, bool upper_case, Context& context) {
  const std::string text = to_text(v, context);
  context.step(text.size() / 4);
  bool cased = false;
  for (size_t at = 0; at < text.size();) {
    std::string one;
    append_code_point(one, next_code_point(text, at));
    const std::string low = lower(one, context), up = upper(one, context);
    if (low == up) continue;
    cased = true;
    if (one != (upper_case ? up : low)) return false;
  }
  return cased;
}

const Value& other(std::string_view name, Interpreter& in, Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    in.context().error("the test '{}' takes one argument", name);
  return arguments.positional[0];
}

int64_t integer_of(const Value& v, Context& context) {
  if (!v.is_integer()) context.error("this test needs an integer, not {}", v.type_name());
  return v.integer();
}

/// Whether Python's iter() takes it.
bool iterable(const Value& v) { return v.text() || v.list() || v.dict() || v.is_undefined() || v.loop(); }

struct NamedTest {
  std::string_view name;
  Test test;
};

#define TEST(name, condition)                                         \
  NamedTest {                                                         \
    name, [](Interpreter& in, const Value& v, Arguments& a) -> bool { \
      (void)in, (void)v, (void)a;                                     \
      return condition;                                               \
    }                                                                 \
  }

constexpr NamedTest kTests[] = {
    TEST("defined", !v.is_undefined()),
    TEST("undefined", v.is_undefined()),
    TEST("none", v.is_none()),
    TEST("string", v.text() != nullptr),
    TEST("number", v.is_number()),
    TEST("integer", v.is<int64_t>()),
    TEST("float", v.is<double>()),
    TEST("boolean", v.is<bool>()),
    TEST("true", v.is<bool>() && v.integer()),
    TEST("false", v.is<bool>() && !v.integer()),
    TEST("mapping", v.dict() != nullptr),
    TEST("sequence", v.text() || v.dict() || v.is_undefined() || (v.list() && v.list()->kind <= List::Kind::Tuple)),
    TEST("iterable", iterable(v)),
    TEST("callable", v.function() || v.is_undefined()),
    TEST("odd", integer_of(v, in.context()) % 2 != 0),
    TEST("even", integer_of(v, in.context()) % 2 == 0),
    TEST("divisibleby",
         equal(arithmetic("%", v, other("divisibleby", in, a), in.context()), Value(int64_t{0}), in.context())),
    TEST("upper", is_case(v, true, in.context())),
    TEST("lower", is_case(v, false, in.context())),
    TEST("in", contains(other("in", in, a), v, in.context())),
    TEST("eq", equal(v, other("eq", in, a), in.context())),
    TEST("equalto", equal(v, other("equalto", in, a), in.context())),
    TEST("==", equal(v, other("==", in, a), in.context())),
    TEST("ne", !equal(v, other("ne", in, a), in.context())),
    TEST("!=", !equal(v, other("!=", in, a), in.context())),
    TEST("lt", less(v, other("lt", in, a), in.context())),
    TEST("lessthan", less(v, other("lessthan", in, a), in.context())),
    TEST("<", less(v, other("<", in, a), in.context())),
    TEST("gt", less(other("gt", in, a), v, in.context())),
    TEST("greaterthan", less(other("greaterthan", in, a), v, in.context())),
    TEST(">", less(other(">", in, a), v, in.context())),
    TEST("le", !less(other("le", in, a), v, in.context())),
    TEST("<=", !less(other("<=", in, a), v, in.context())),
    TEST("ge", !less(v, other("ge", in, a), in.context())),
    TEST(">=", !less(v, other(">=", in, a), in.context())),
};
#undef TEST

}  // namespace

Test find_test(std::string_view name, Context& context) {
  for (const NamedTest& t : kTests) {
    if (t.name == name) return t.test;
  }
  context.error("the test '{}' is not supported", name);
}

void define_functions(Interpreter& interpreter) {
  const auto add = [&](const char* name, auto call) { interpreter.define(name, Function{name, call}); };
  add("range", range);
  add("dict", [](Interpreter& in, Arguments& a) -> Value { return make_dict(in, a); });
  add("namespace", make_namespace);
  add("raise_exception", raise_exception);
  add("strftime_now", strftime_now);
  add("joiner", joiner);
}

}  // namespace lowbit::jinja
