// Operators on values, slices and the matching of arguments to parameters.
#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

[[noreturn]] void mismatch(std::string_view op, const Value& a, const Value& b, Context& context) {
  context.error("'{}' cannot take {} and {}", op, a.type_name(), b.type_name());
}

int64_t floor_divide(int64_t a, int64_t b) { return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0); }
int64_t floor_modulo(int64_t a, int64_t b) { return a % b + ((a % b != 0 && (a < 0) != (b < 0)) ? b : 0); }

int64_t checked_power(int64_t base, int64_t exponent, Context& context) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
      context.error("'**': the result exceeds 64 bits");
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) context.error("'**': the result exceeds 64 bits");
  }
  return result;
}

Value on_integers(std::string_view op, int64_t a, int64_t b, Context& context) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == "**") {
    if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
    return checked_power(a, b, context);
  } else {
    if (b == 0) context.error("division by zero");
    overflow = a == INT64_MIN && b == -1;
    if (!overflow && op == "/") return static_cast<double>(a) / static_cast<double>(b);
    if (!overflow) out = op == "//" ? floor_divide(a, b) : floor_modulo(a, b);
  }
  if (overflow) context.error("'{}': the result exceeds 64 bits", op);
  return out;
}

Value on_floats(std::string_view op, double a, double b, Context& context) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) context.error("division by zero");
  if (op == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return op == "%" ? rest : std::floor((a - rest) / b + 0.5);
}

Value repeat(const Value& value, int64_t times, Context& context) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  const size_t unit =
      std::max<size_t>(value.text() ? value.text()->size() : value.list()->items.size() * sizeof(Value), 1);
  if (n > (size_t{1} << 40) / unit) context.error("'*': the result is too long");
  context.charge(n * unit);
  if (value.text()) {
    std::string out;
    for (size_t i = 0; i < n && !value.text()->empty(); ++i) out += *value.text();
    return out;
  }
  std::vector<Value> items;
  const auto& from = value.list()->items;
  for (size_t i = 0; i < n && !from.empty(); ++i) items.insert(items.end(), from.begin(), from.end());
  return Value::list(std::move(items), value.list()->kind);
}

/// Text as HTML: escaped, unless it is marked as safe already.
std::string html(const Value& value, Context& context) {
  if (value.markup()) return to_text(value, context);
  std::string out;
  for (const char c : *value.text()) {
    out += c == '&'    ? "&amp;"
           : c == '<'  ? "&lt;"
           : c == '>'  ? "&gt;"
           : c == '\'' ? "&#39;"
           : c == '"'  ? "&#34;"
                       : std::string_view(&c, 1);
  }
  context.charge(out.size());
  return out;
}

bool repeats(const Value& value) { return value.text() || (value.list() && value.list()->kind <= List::Kind::Tuple); }

}  // namespace

Value arithmetic(std::string_view op, const Value& a, const Value& b, Context& context) {
  if (op == "~") return to_text(a, context) + to_text(b, context);
  if (op == "+" && (a.markup() || b.markup()) && a.text() && b.text()) {
    std::string out = html(a, context) + html(b, context);
    return Text{std::move(out), true};
  }
  if (a.markup() || b.markup()) context.error("'{}' on text marked as safe is not supported", op);
  if (a.is_number() && b.is_number()) {
    return a.is_integer() && b.is_integer() ? on_integers(op, a.integer(), b.integer(), context)
                                            : on_floats(op, a.number(), b.number(), context);
  }
  if (op == "+" && a.text() && b.text()) {
    context.charge(a.text()->size() + b.text()->size());
    return *a.text() + *b.text();
  }
  if (op == "+" && repeats(a) && repeats(b) && a.list() && b.list() && a.list()->kind == b.list()->kind) {
    std::vector<Value> items = a.list()->items;
    context.charge((items.size() + b.list()->items.size()) * sizeof(Value));
    items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
    return Value::list(std::move(items), a.list()->kind);
  }
  if (op == "*" && repeats(a) && b.is_integer()) return repeat(a, b.integer(), context);
  if (op == "*" && repeats(b) && a.is_integer()) return repeat(b, a.integer(), context);
  if (op == "%" && a.text()) return percent_format(*a.text(), b, context);
  mismatch(op, a, b, context);
}

std::string percent_format(const std::string& format, const Value& values, Context& context) {
  const List* tuple = values.list() && values.list()->kind == List::Kind::Tuple ? values.list() : nullptr;
  size_t used = 0;
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    const char kind = ++at < format.size() ? format[at] : '\0';
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (kind != 's' && kind != 'd' && kind != 'i') context.error("this format of '%' is not supported");
    if (tuple ? used >= tuple->items.size() : used > 0)
      context.error("'%': there are not enough values for the format");
    const Value& v = tuple ? tuple->items[used] : values;
    ++used;
    if (kind != 's' && !v.is_integer()) context.error("'%{}' needs an integer, not {}", kind, v.type_name());
    out += kind == 's' ? to_text(v, context) : std::to_string(v.integer());
  }
  if (tuple ? used < tuple->items.size() : used == 0 && !values.dict()) {
    context.error("'%': not all values are used by the format");
  }
  context.charge(out.size());
  return out;
}

Value slice(const Value& value, const Value& begin, const Value& end, const Value& step, Context& context) {
  for (const Value* bound : {&begin, &end, &step}) {
    if (!bound->is_none() && !bound->is_integer()) context.error("a slice needs integers, not {}", bound->type_name());
  }
  if (!repeats(value)) return Value::undefined(fmt::format("a {} cannot be sliced", value.type_name()));
  const int64_t by = step.is_none() ? 1 : step.integer();
  if (by == 0) context.error("the step of a slice cannot be zero");
  if (value.text()) context.charge(value.text()->size() * sizeof(char32_t));
  const std::vector<char32_t> points = value.text() ? code_points(*value.text()) : std::vector<char32_t>();
  const auto n = static_cast<int64_t>(value.text() ? points.size() : value.list()->items.size());
  const auto place = [&](const Value& bound, int64_t otherwise) {
    if (bound.is_none()) return otherwise;
    const int64_t i = bound.integer() < 0 ? std::max<int64_t>(bound.integer(), -n - 1) + n : bound.integer();
    return std::clamp<int64_t>(i, by < 0 ? -1 : 0, by < 0 ? n - 1 : n);
  };
  const int64_t first = place(begin, by < 0 ? n - 1 : 0), last = place(end, by < 0 ? -1 : n);
  const int64_t stride = std::clamp<int64_t>(by, -n - 1, n + 1);  // so that stepping cannot overflow
  std::string text;
  std::vector<Value> items;
  for (int64_t i = first; by > 0 ? i < last : i > last; i += stride) {
    context.step();
    if (value.text()) {
      append_code_point(text, points[static_cast<size_t>(i)]);
    } else {
      items.push_back(value.list()->items[static_cast<size_t>(i)]);
    }
  }
  if (value.text()) return Text{std::move(text), value.markup()};
  context.charge(items.size() * sizeof(Value));
  return Value::list(std::move(items), value.list()->kind);
}

Bound::Bound(std::string_view function, Arguments& arguments, std::initializer_list<std::string_view> names,
             Context& context)
    : function_(function), names_(names), values_(names.size()), context_(context) {
  if (arguments.positional.size() > names.size()) {
    context.error("{} takes at most {} arguments, not {}", function, names.size(), arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    const auto i = static_cast<size_t>(found - names_.begin());
    if (found == names_.end()) context.error("{} has no argument '{}'", function, name);
    if (values_[i]) context.error("{}: '{}' is given twice", function, name);
    values_[i] = &value;
  }
}

const Value& Bound::required(size_t i) const {
  if (!values_[i]) context_.error("{}: the argument '{}' is missing", function_, names_[i]);
  return *values_[i];
}

const std::string& Bound::text(size_t i) const {
  const Value& v = required(i);
  if (!v.text()) context_.error("{}: '{}' should be a string, not {}", function_, names_[i], v.type_name());
  return *v.text();
}

std::string Bound::text_or(size_t i, std::string_view otherwise) const {
  if (!given(i)) return std::string(otherwise);
  context_.charge(text(i).size());
  return text(i);
}

int64_t Bound::integer_or(size_t i, int64_t otherwise) const {
  if (!given(i)) return otherwise;
  if (!values_[i]->is_integer()) {
    context_.error("{}: '{}' should be an integer, not {}", function_, names_[i], values_[i]->type_name());
  }
  return values_[i]->integer();
}

}  // namespace lowbit::jinja
