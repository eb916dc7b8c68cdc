// Methods of strings, lists and dicts.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

using Method = Value (*)(Interpreter&, const Value& self, Arguments&);

struct NamedMethod {
  std::string_view name;
  Method method;
};

Value text_list(std::vector<std::string> parts, Context& context) {
  std::vector<Value> items;
  for (std::string& part : parts) {
    context.charge(part.size() + sizeof(Value) + sizeof(Text));
    items.emplace_back(std::move(part));
  }
  context.step(items.size());
  return Value::list(std::move(items));
}

template <bool Left, bool Right>
Value strip_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("strip", a, {"chars"}, in.context());
  in.context().charge(self.text()->size());
  const std::string chars = bound.text_or(0, "");
  return strip(*self.text(), bound.given(0) ? std::optional<std::string_view>(chars) : std::nullopt, Left, Right);
}

template <bool FromRight>
Value split_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("split", a, {"sep", "maxsplit"}, in.context());
  const std::string separator = bound.text_or(0, "");
  if (bound.given(0) && separator.empty()) in.context().error("split: the separator is empty");
  const auto by = bound.given(0) ? std::optional<std::string_view>(separator) : std::nullopt;
  const int64_t most = bound.integer_or(1, -1);
  in.context().charge(self.text()->size() * sizeof(Value));
  return text_list(
      FromRight ? rsplit(*self.text(), by, most, in.context()) : split(*self.text(), by, most, in.context()),
      in.context());
}

Value split_lines_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("splitlines", a, {"keepends"}, in.context());
  return text_list(split_lines(*self.text(), bound.truthy_or(0, false), in.context()), in.context());
}

template <bool Starts>
Value affix_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound(Starts ? "startswith" : "endswith", a, {Starts ? "prefix" : "suffix", "start", "end"},
                    in.context());
  const Value part = bound.given(1) || bound.given(2)
                         ? slice(self, bound.given(1) ? *bound[1] : Value(None{}),
                                 bound.given(2) ? *bound[2] : Value(None{}), None{}, in.context())
                         : self;
  const Value& affix = bound.required(0);
  const bool tuple = affix.list() && affix.list()->kind == List::Kind::Tuple;
  for (const Value& one : tuple ? affix.list()->items : std::vector<Value>{affix}) {
    if (!one.text())
      in.context().error("{} needs a string, not {}", Starts ? "startswith" : "endswith", one.type_name());
    in.context().read(one.text()->size());
    if (Starts ? part.text()->starts_with(*one.text()) : part.text()->ends_with(*one.text())) return true;
  }
  return false;
}

Value replace_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"}, in.context());
  return replace(*self.text(), bound.text(0), bound.text(1), bound.integer_or(2, -1), in.context());
}

template <bool FromRight, bool Must>
Value find_method_of_text(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("find", a, {"sub"}, in.context());
  in.context().search(self.text()->size(), bound.text(0).size());
  const size_t at = FromRight ? self.text()->rfind(bound.text(0)) : self.text()->find(bound.text(0));
  if (at == std::string::npos && Must) in.context().error("index: the substring is not found");
  if (at == std::string::npos) return int64_t{-1};
  return Value::integer(count_code_points(std::string_view(*self.text()).substr(0, at)));
}

Value count_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("count", a, {"value"}, in.context());
  if (self.list()) {
    const auto& items = self.list()->items;
    return Value::integer(static_cast<size_t>(std::count_if(
        items.begin(), items.end(), [&](const Value& v) { return equal(v, bound.required(0), in.context()); })));
  }
  const std::string& part = bound.text(0);
  in.context().search(self.text()->size(), part.size());
  if (part.empty()) return Value::integer(count_code_points(*self.text()) + 1);
  size_t n = 0;
  for (size_t at = self.text()->find(part); at != std::string::npos; at = self.text()->find(part, at + part.size()))
    ++n;
  return Value::integer(n);
}

Value join_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("join", a, {"iterable"}, in.context());
  std::string out;
  bool first = true;
  for (const Value& item : iterate(bound.required(0), in.context())) {
    if (!item.text()) in.context().error("join needs strings, not {}", item.type_name());
    if (!first) out += *self.text();
    first = false;
    in.context().charge(self.text()->size() + item.text()->size());
    out += *item.text();
  }
  return out;
}

template <bool (*Is)(char32_t)>
Value all_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("this method", a, {}, in.context());
  in.context().step(1 + self.text()->size() / 16);
  for (size_t at = 0; at < self.text()->size();) {
    if (!Is(next_code_point(*self.text(), at))) return false;
  }
  return !self.text()->empty();
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_digit(c); }

template <std::string (*Map)(std::string_view, Context&)>
Value map_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("this method", a, {}, in.context());
  return Map(*self.text(), in.context());
}

std::string title_words(std::string_view text, Context& context) {
  context.step(text.size() / 4);
  std::string out;
  bool inside = false;  // a word: letters next to each other
  for (size_t at = 0; at < text.size();) {
    std::string one;
    const char32_t c = next_code_point(text, at);
    append_code_point(one, c);
    out += !is_alpha(c) ? one : inside ? lower(one, context) : capitalize(one, context);
    inside = is_alpha(c);
  }
  return out;
}

template <bool Prefix>
Value remove_affix(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound(Prefix ? "removeprefix" : "removesuffix", a, {"affix"}, in.context());
  const std::string &text = *self.text(), &affix = bound.text(0);
  in.context().charge(text.size());
  if (Prefix) return text.starts_with(affix) ? text.substr(affix.size()) : text;
  return text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text;
}

/// str.format with "{}", "{0}" and "{name}"; no attributes, conversions or widths.
Value format_method(Interpreter& in, const Value& self, Arguments& a) {
  Context& context = in.context();
  const std::string& format = *self.text();
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < format.size(); ++at) {
    const char c = format[at];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (at + 1 < format.size() && format[at + 1] == c) {
      out += c;
      ++at;
      continue;
    }
    const size_t close = format.find('}', at);
    if (c == '}' || close == std::string::npos) context.error("format: a single brace");
    const std::string field = format.substr(at + 1, close - at - 1);
    at = close;
    const Value* value = nullptr;
    if (field.find_first_not_of("0123456789") == std::string::npos && field.size() < 6) {
      const size_t i = field.empty() ? next++ : std::stoul(field);
      if (i < a.positional.size()) value = &a.positional[i];
    } else if (field.find_first_of(".[!:{") != std::string::npos) {
      context.error("format: the field '{}' is not supported", field.substr(0, 40));
    }
    context.step(1 + a.named.size() / 16);
    for (const auto& [name, named] : a.named) {
      if (name == field) value = &named;
    }
    if (!value) context.error("format: there is no value for '{}'", field.substr(0, 40));
    out += to_text(*value, context);
  }
  context.charge(out.size());
  return out;
}

template <bool AfterLast>
Value partition_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("partition", a, {"sep"}, in.context());
  const std::string &text = *self.text(), &sep = bound.text(0);
  if (sep.empty()) in.context().error("partition: the separator is empty");
  in.context().charge(text.size());
  in.context().search(text.size(), sep.size());
  const size_t at = AfterLast ? text.rfind(sep) : text.find(sep);
  std::vector<Value> parts;
  if (at == std::string::npos) {
    parts = {Value(AfterLast ? "" : text), Value(std::string()), Value(AfterLast ? text : "")};
  } else {
    parts = {Value(text.substr(0, at)), Value(sep), Value(text.substr(at + sep.size()))};
  }
  return Value::list(std::move(parts), List::Kind::Tuple);
}

constexpr NamedMethod kTextMethods[] = {
    {"strip", strip_method<true, true>},
    {"lstrip", strip_method<true, false>},
    {"rstrip", strip_method<false, true>},
    {"split", split_method<false>},
    {"rsplit", split_method<true>},
    {"splitlines", split_lines_method},
    {"startswith", affix_method<true>},
    {"endswith", affix_method<false>},
    {"replace", replace_method},
    {"find", find_method_of_text<false, false>},
    {"rfind", find_method_of_text<true, false>},
    {"index", find_method_of_text<false, true>},
    {"count", count_method},
    {"join", join_method},
    {"upper", map_method<upper>},
    {"lower", map_method<lower>},
    {"capitalize", map_method<capitalize>},
    {"title", map_method<title_words>},
    {"isdigit", all_method<is_digit>},
    {"isdecimal", all_method<is_digit>},
    {"isalpha", all_method<is_alpha>},
    {"isalnum", all_method<is_alphanumeric>},
    {"isspace", all_method<is_space>},
    {"removeprefix", remove_affix<true>},
    {"removesuffix", remove_affix<false>},
    {"format", format_method},
    {"partition", partition_method<false>},
    {"rpartition", partition_method<true>},
};

Value get_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("get", a, {"key", "default"}, in.context());
  const Value* found = find(*self.dict(), bound.required(0), in.context());
  return found ? *found : bound[1] ? *bound[1] : Value(None{});
}

enum class Part { Keys, Values, Items };
template <Part P>
Value view_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("this method", a, {}, in.context());
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->items) {
    items.push_back(P == Part::Keys ? key : P == Part::Values ? value : Value::list({key, value}, List::Kind::Tuple));
  }
  in.context().step(items.size());
  in.context().charge(items.size() * 3 * sizeof(Value));
  return Value::list(std::move(items), List::Kind::View);
}

Value copy_method(Interpreter&, const Value& self, Arguments&) { return self; }  // values never change

constexpr NamedMethod kDictMethods[] = {
    {"get", get_method},
    {"keys", view_method<Part::Keys>},
    {"values", view_method<Part::Values>},
    {"items", view_method<Part::Items>},
    {"copy", copy_method},
};

Value index_method(Interpreter& in, const Value& self, Arguments& a) {
  const Bound bound("index", a, {"value"}, in.context());
  const auto& items = self.list()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], bound.required(0), in.context())) return Value::integer(i);
  }
  in.context().error("index: the value is not in the list");
}

constexpr NamedMethod kListMethods[] = {{"index", index_method}, {"count", count_method}, {"copy", copy_method}};

// What Python has besides. A sandbox gives no access to what changes a value: it reads as undefined.
constexpr std::string_view kChanges[] = {"append", "extend",  "insert", "pop",     "remove",    "clear",
                                         "sort",   "reverse", "update", "popitem", "setdefault"};
constexpr std::string_view kOtherText[] = {"casefold", "center",       "encode",    "expandtabs", "format_map",
                                           "isascii",  "isidentifier", "islower",   "isnumeric",  "isprintable",
                                           "istitle",  "isupper",      "ljust",     "maketrans",  "rindex",
                                           "rjust",    "swapcase",     "translate", "zfill"};

template <typename Table>
const NamedMethod* find_in(const Table& table, std::string_view name) {
  for (const NamedMethod& m : table) {
    if (m.name == name) return &m;
  }
  return nullptr;
}

template <typename Names>
bool lists(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

std::optional<Value> find_method(const Value& self, const std::string& name, Context& context) {
  const NamedMethod* found = nullptr;
  if (self.text()) {
    found = find_in(kTextMethods, name);
    if (lists(kOtherText, name)) context.error("the method '{}' of a string is not supported", name);
    const bool asks = name == "startswith" || name == "endswith";
    if (found && self.markup() && !asks) context.error("'{}' of text marked as safe is not supported", name);
  } else if (self.dict()) {
    found = find_in(kDictMethods, name);
    if (name == "fromkeys") context.error("the method '{}' of a dict is not supported", name);
    if (lists(kChanges, name) &&
        (name == "pop" || name == "clear" || name == "update" || name == "popitem" || name == "setdefault")) {
      return Value::undefined(fmt::format("'{}' would change a dict, which the sandbox does not allow", name));
    }
  } else if (self.list() && self.list()->kind <= List::Kind::Tuple) {
    found = find_in(kListMethods, name);
    if (lists(kChanges, name)) {
      return Value::undefined(fmt::format("'{}' would change a list, which the sandbox does not allow", name));
    }
  }
  if (!found) return std::nullopt;
  const auto bound = [self, method = found->method](Interpreter& in, Arguments& a) { return method(in, self, a); };
  return Value(Function{name, bound, self.height() + 1});
}

}  // namespace lowbit::jinja
