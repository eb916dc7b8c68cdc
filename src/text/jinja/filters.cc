// The filters after "|", with Jinja 2's meaning; tojson is Python's json.dumps, as in transformers.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

void no_markup(std::string_view filter, const Value& v, Context& context) {
  if (v.markup()) context.error("{} of text marked as safe is not supported", filter);
}

std::string plain(std::string_view filter, Interpreter& in, const Value& v) {
  no_markup(filter, v, in.context());
  return to_text(v, in.context());
}

void none_given(std::string_view filter, Interpreter& in, Arguments& a) {
  const Bound bound(filter, a, {}, in.context());
}

Value trim(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("trim", a, {"chars"}, in.context());
  const std::string chars = bound.text_or(0, "");
  return Text{strip(to_text(v, in.context()), bound.given(0) ? std::optional<std::string_view>(chars) : std::nullopt,
                    true, true),
              v.markup()};
}

Value tojson(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const Bound bound("tojson", a, {"ensure_ascii", "indent", "separators", "sort_keys"}, context);
  JsonStyle style;
  style.ascii = bound.truthy_or(0, false);
  style.sort_keys = bound.truthy_or(3, false);
  if (bound.given(1)) {
    style.pretty = true;
    style.comma = std::string(",");
    if (bound[1]->text()) {
      style.indent = *bound[1]->text();
    } else {
      style.indent = std::string(static_cast<size_t>(std::clamp<int64_t>(bound.integer_or(1, 0), 0, 100)), ' ');
    }
  }
  if (bound.given(2)) {
    const std::vector<Value> both = iterate(*bound[2], context);
    if (both.size() != 2 || !both[0].text() || !both[1].text())
      context.error("tojson: separators should be two strings");
    style.comma = *both[0].text();
    style.colon = *both[1].text();
  }
  context.charge(style.indent.size() + style.comma.size() + style.colon.size());
  return to_json(v, style, context);
}

Value length_filter(Interpreter& in, const Value& v, Arguments& a) {
  none_given("length", in, a);
  return Value::integer(length(v, in.context()));
}

template <std::string (*Map)(std::string_view, Context&)>
Value map_text(Interpreter& in, const Value& v, Arguments& a) {
  none_given("this filter", in, a);
  return Map(plain("this filter", in, v), in.context());
}

/// Jinja's title: what follows white space or one of -([{< begins a word.
std::string title(std::string_view text, Context& context) {
  context.step(text.size() / 4);
  std::string out;
  bool begins = true;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    std::string one;
    append_code_point(one, c);
    out += begins ? upper(one, context) : lower(one, context);
    begins = is_space(c) || c == '-' || c == '(' || c == '[' || c == '{' || c == '<';
  }
  return out;
}

Value default_filter(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("default", a, {"default_value", "boolean"}, in.context());
  const bool replaced = v.is_undefined() || (bound.truthy_or(1, false) && !v.truthy());
  if (!replaced) return v;
  return bound[0] ? *bound[0] : Value(std::string());
}

/// What attribute="a.b" or attribute=0 reads from an item.
Value attribute_of(Interpreter& in, Value item, const Value& attribute) {
  if (attribute.is_integer()) return in.item(item, attribute);
  if (!attribute.text()) in.context().error("an attribute should be a string, not {}", attribute.type_name());
  for (const std::string& part : split(*attribute.text(), ".", -1, in.context())) {
    const bool number = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    item = in.item(item, number ? Value(static_cast<int64_t>(std::stol(part))) : Value(part));
  }
  return item;
}

/// A key to sort by: the attribute if one is named, in lower case unless case matters.
Value sort_key(Interpreter& in, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute ? attribute_of(in, item, *attribute) : item;
  return key.text() && !case_sensitive ? Value(lower(*key.text(), in.context())) : key;
}

std::vector<Value> sorted(Interpreter& in, std::vector<Value> items, const Value* attribute, bool case_sensitive,
                          bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = sort_key(in, item, attribute, case_sensitive);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first, in.context()) : less(a.first, b.first, in.context());
  });
  items.clear();
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

Value join(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const Bound bound("join", a, {"d", "attribute"}, context);
  const std::string separator = bound[0] ? to_text(*bound[0], context) : std::string();
  std::string out;
  bool first = true;
  for (const Value& item : iterate(v, context)) {
    if (!first) out += separator;
    first = false;
    context.charge(separator.size());
    out += to_text(bound.given(1) ? attribute_of(in, item, *bound[1]) : item, context);
  }
  return out;
}

Value first(Interpreter& in, const Value& v, Arguments& a) {
  none_given("first", in, a);
  if (const List* list = v.list(); list && list->kind == List::Kind::Iterator) {
    return list->at < list->items.size() ? list->items[list->at++] : Value::undefined("there is no first item");
  }
  const std::vector<Value> items = iterate(v, in.context());
  return items.empty() ? Value::undefined("there is no first item") : items.front();
}

Value last(Interpreter& in, const Value& v, Arguments& a) {
  none_given("last", in, a);
  length(v, in.context());  // an iterator cannot be reversed
  const std::vector<Value> items = iterate(v, in.context());
  return items.empty() ? Value::undefined("there is no last item") : items.back();
}

Value list_filter(Interpreter& in, const Value& v, Arguments& a) {
  none_given("list", in, a);
  return Value::list(iterate(v, in.context()));
}

Value string_filter(Interpreter& in, const Value& v, Arguments& a) {
  none_given("string", in, a);
  return v.text() ? v : Value(to_text(v, in.context()));
}

Value safe(Interpreter& in, const Value& v, Arguments& a) {
  none_given("safe", in, a);
  return Text{to_text(v, in.context()), true};
}

std::optional<double> parse_float(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double out = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

Value int_filter(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const Bound bound("int", a, {"default"}, context);
  const Value otherwise = bound[0] ? *bound[0] : Value(int64_t{0});
  if (v.is_integer()) return v.integer();
  std::optional<double> real;
  if (v.is<double>()) real = v.number();
  if (v.text()) {
    context.read(v.text()->size());
    std::string text = strip(*v.text(), std::nullopt, true, true);
    if (text.find('_') != std::string::npos) context.error("int: underscores in numbers are not supported");
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    int64_t out = 0;
    const auto [end, status] = std::from_chars(begin, text.data() + text.size(), out);
    if (status == std::errc() && end == text.data() + text.size() && end != begin) return out;
    real = parse_float(text);
  }
  if (!real || std::isnan(*real) || std::isinf(*real)) return otherwise;
  if (std::abs(*real) >= 9.2e18) context.error("int: the number exceeds 64 bits");
  return static_cast<int64_t>(*real);
}

Value float_filter(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("float", a, {"default"}, in.context());
  if (v.is_number()) return v.number();
  if (v.text()) {
    in.context().read(v.text()->size());
    if (const auto real = parse_float(strip(*v.text(), std::nullopt, true, true))) return *real;
  }
  return bound[0] ? *bound[0] : Value(0.0);
}

Value abs_filter(Interpreter& in, const Value& v, Arguments& a) {
  none_given("abs", in, a);
  if (v.is<double>()) return std::abs(v.number());
  if (!v.is_integer()) in.context().error("abs needs a number, not {}", v.type_name());
  return v.integer() < 0 ? arithmetic("-", Value(int64_t{0}), v, in.context()) : Value(v.integer());
}

Value replace_filter(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const Bound bound("replace", a, {"old", "new", "count"}, context);
  return replace(to_text(v, context), to_text(bound.required(0), context), to_text(bound.required(1), context),
                 bound.integer_or(2, -1), context);
}

Value items_filter(Interpreter& in, const Value& v, Arguments& a) {
  none_given("items", in, a);
  if (!v.dict() && !v.is_undefined()) in.context().error("items needs a mapping, not {}", v.type_name());
  std::vector<Value> items;
  if (v.dict()) {
    for (const auto& [key, value] : v.dict()->items) items.push_back(Value::list({key, value}, List::Kind::Tuple));
  }
  in.context().step(items.size());
  in.context().charge(items.size() * 3 * sizeof(Value));
  return Value::list(std::move(items), List::Kind::Iterator);
}

Value dictsort(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const Bound bound("dictsort", a, {"case_sensitive", "by", "reverse"}, context);
  if (!v.dict()) context.error("dictsort needs a mapping, not {}", v.type_name());
  const std::string by = bound.text_or(1, "key");
  if (by != "key" && by != "value") context.error("dictsort: 'by' should be 'key' or 'value'");
  std::vector<Value> items;
  for (const auto& [key, value] : v.dict()->items) items.push_back(Value::list({key, value}, List::Kind::Tuple));
  const Value place(int64_t{by == "key" ? 0 : 1});
  return Value::list(sorted(in, std::move(items), &place, bound.truthy_or(0, false), bound.truthy_or(2, false)));
}

Value sort(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("sort", a, {"reverse", "case_sensitive", "attribute"}, in.context());
  const bool named = bound.given(2);
  if (named && bound[2]->text() && bound[2]->text()->find(',') != std::string::npos) {
    in.context().error("sort by several attributes is not supported");
  }
  return Value::list(sorted(in, iterate(v, in.context()), named ? bound[2] : nullptr, bound.truthy_or(1, false),
                            bound.truthy_or(0, false)));
}

template <bool Largest>
Value extreme(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound(Largest ? "max" : "min", a, {"case_sensitive", "attribute"}, in.context());
  const std::vector<Value> items = iterate(v, in.context());
  const Value* attribute = bound.given(1) ? bound[1] : nullptr;
  const auto key = [&](const Value& item) { return sort_key(in, item, attribute, bound.truthy_or(0, false)); };
  const Value* best = nullptr;
  for (const Value& item : items) {
    const bool better =
        !best || (Largest ? less(key(*best), key(item), in.context()) : less(key(item), key(*best), in.context()));
    if (better) best = &item;
  }
  return best ? *best : Value::undefined("there is no item");
}

Value unique(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("unique", a, {"case_sensitive", "attribute"}, in.context());
  std::vector<Value> keys, kept;
  for (const Value& item : iterate(v, in.context())) {
    Value key = sort_key(in, item, bound.given(1) ? bound[1] : nullptr, bound.truthy_or(0, false));
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return equal(k, key, in.context()); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return Value::list(std::move(kept), List::Kind::Iterator);
}

Value reverse(Interpreter& in, const Value& v, Arguments& a) {
  none_given("reverse", in, a);
  if (v.text()) return slice(v, None{}, None{}, Value(int64_t{-1}), in.context());
  std::vector<Value> items = iterate(v, in.context());
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items), List::Kind::Iterator);
}

Value sum(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("sum", a, {"attribute", "start"}, in.context());
  Value total = bound[1] ? *bound[1] : Value(int64_t{0});
  for (const Value& item : iterate(v, in.context())) {
    total = arithmetic("+", total, bound.given(0) ? attribute_of(in, item, *bound[0]) : item, in.context());
  }
  return total;
}

/// The arguments after the first `n`.
Arguments without(const Arguments& a, size_t n) {
  Arguments rest = a;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(n, rest.positional.size())));
  return rest;
}

/// The items that map and select walk: none if the value is false, whatever its type.
std::vector<Value> items_if_any(const Value& v, Context& context) {
  return v.truthy() ? iterate(v, context) : std::vector<Value>();
}

/// map(attribute="x", default=y) or map("filter", arguments...).
Value map(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  std::vector<Value> out;
  if (a.positional.empty()) {
    const Bound bound("map", a, {"attribute", "default"}, context);
    for (const Value& item : items_if_any(v, context)) {
      Value found = attribute_of(in, item, bound.required(0));
      out.push_back(found.is_undefined() && bound[1] ? *bound[1] : std::move(found));
    }
  } else {
    if (!a.positional[0].text()) context.error("map needs the name of a filter");
    const Filter filter = find_filter(*a.positional[0].text(), context);
    for (const Value& item : items_if_any(v, context)) {
      Arguments rest = without(a, 1);
      out.push_back(filter(in, item, rest));
    }
  }
  return Value::list(std::move(out), List::Kind::Iterator);
}

/// select, reject, selectattr, rejectattr: items for which a test holds, or does not.
template <bool Keep, bool Attribute>
Value choose(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const size_t at = Attribute ? 1 : 0;
  if (a.positional.size() < at) context.error("selectattr needs the name of an attribute");
  const bool named = a.positional.size() > at;
  if (named && !a.positional[at].text()) context.error("select needs the name of a test");
  const Test test = named ? find_test(*a.positional[at].text(), context) : nullptr;
  std::vector<Value> out;
  for (const Value& item : items_if_any(v, context)) {
    const Value tested = Attribute ? attribute_of(in, item, a.positional[0]) : item;
    Arguments rest = without(a, at + 1);
    if ((test ? test(in, tested, rest) : tested.truthy()) == Keep) out.push_back(item);
  }
  return Value::list(std::move(out), List::Kind::Iterator);
}

Value indent(Interpreter& in, const Value& v, Arguments& a) {
  Context& context = in.context();
  const Bound bound("indent", a, {"width", "first", "blank"}, context);
  const bool by_text = bound[0] && bound[0]->text();
  const int64_t width = by_text ? 0 : std::max<int64_t>(bound.integer_or(0, 4), 0);
  if (width > 1000) context.error("indent: the width {} is too large", width);
  const std::string indention = by_text ? *bound[0]->text() : std::string(static_cast<size_t>(width), ' ');
  context.charge(indention.size());
  const std::vector<std::string> lines = split_lines(plain("indent", in, v) + "\n", false, context);
  std::string out = bound.truthy_or(1, false) ? indention : std::string();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (!lines[i].empty() || bound.truthy_or(2, false))) out += indention;
    context.charge(indention.size() + lines[i].size() + 1);
    out += lines[i];
  }
  return out;
}

Value format(Interpreter& in, const Value& v, Arguments& a) {
  if (!a.named.empty()) in.context().error("format with named values is not supported");
  return percent_format(plain("format", in, v), Value::list(a.positional, List::Kind::Tuple), in.context());
}

Value attr(Interpreter& in, const Value& v, Arguments& a) {
  const Bound bound("attr", a, {"name"}, in.context());
  if (v.dict() && find(*v.dict(), Value(bound.text(0)), in.context()))
    return Value::undefined("attr does not read items");
  return in.attribute(v, bound.text(0));
}

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

constexpr NamedFilter kFilters[] = {
    {"trim", trim},
    {"tojson", tojson},
    {"length", length_filter},
    {"count", length_filter},
    {"upper", map_text<upper>},
    {"lower", map_text<lower>},
    {"capitalize", map_text<capitalize>},
    {"title", map_text<title>},
    {"default", default_filter},
    {"d", default_filter},
    {"join", join},
    {"first", first},
    {"last", last},
    {"list", list_filter},
    {"string", string_filter},
    {"safe", safe},
    {"int", int_filter},
    {"float", float_filter},
    {"abs", abs_filter},
    {"replace", replace_filter},
    {"items", items_filter},
    {"dictsort", dictsort},
    {"sort", sort},
    {"min", extreme<false>},
    {"max", extreme<true>},
    {"unique", unique},
    {"reverse", reverse},
    {"sum", sum},
    {"map", map},
    {"select", choose<true, false>},
    {"reject", choose<false, false>},
    {"selectattr", choose<true, true>},
    {"rejectattr", choose<false, true>},
    {"indent", indent},
    {"format", format},
    {"attr", attr},
};

}  // namespace

Filter find_filter(std::string_view name, Context& context) {
  for (const NamedFilter& f : kFilters) {
    if (f.name == name) return f.filter;
  }
  context.error("the filter '{}' is not supported", name);
}

}  // namespace lowbit::jinja
