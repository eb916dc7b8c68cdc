#include "text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja/unicode_text.h"

namespace lowbit::jinja {
namespace {

/// Python's repr of a float: the shortest digits that read back, as 1e+16 from 16 digits before the point on.
std::string float_repr(double v, bool json) {
  if (std::isnan(v)) return json ? "NaN" : "nan";
  if (std::isinf(v)) return std::string(v < 0 ? "-" : "") + (json ? "Infinity" : "inf");
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), v, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02}", scientific.substr(0, e), exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  const auto fixed_end = std::to_chars(buffer, buffer + sizeof(buffer), v, std::chars_format::fixed).ptr;
  std::string fixed(buffer, fixed_end);
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

std::string text_repr(const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_code_point(out, c);
    } else {
      const auto code = static_cast<uint32_t>(c);
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
  }
  return out + quote;
}

std::string json_text(const std::string& text, bool ascii) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const char* escaped = c == '"'    ? "\\\""
                          : c == '\\' ? "\\\\"
                          : c == '\n' ? "\\n"
                          : c == '\r' ? "\\r"
                          : c == '\t' ? "\\t"
                          : c == '\b' ? "\\b"
                          : c == '\f' ? "\\f"
                                      : nullptr;
    if (escaped) {
      out += escaped;
    } else if (c < 0x20 || (ascii && c >= 0x7f && c < 0x10000)) {
      // json.dumps leaves 0x7f as it is.
      c == 0x7f ? out.append(1, '\x7f') : out.append(fmt::format("\\u{:04x}", static_cast<uint32_t>(c)));
    } else if (ascii && c >= 0x10000) {
      const auto v = static_cast<uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (v >> 10), 0xdc00 + (v & 0x3ff));
    } else {
      append_code_point(out, c);
    }
  }
  return out + '"';
}

/// json.dumps' spelling of a key, which may be any plain value.
std::string json_key(const Value& key, bool ascii, Context& context) {
  if (key.text()) return json_text(*key.text(), ascii);
  if (key.is_none()) return "\"null\"";
  if (key.is<bool>()) return key.integer() ? "\"true\"" : "\"false\"";
  if (key.is<int64_t>()) return fmt::format("\"{}\"", key.integer());
  if (key.is<double>()) return '"' + float_repr(key.number(), true) + '"';
  context.error("tojson: a key of type {} cannot be written", key.type_name());
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Context& context) : style_(style), context_(context) {}

  void write(const Value& value, size_t depth) {
    const Context::Level level(context_);
    context_.step();
    const size_t before = out_.size();
    if (const auto* list = value.list(); list && (list->kind == List::Kind::List || list->kind == List::Kind::Tuple)) {
      write_items('[', ']', list->items, depth, [&](const Value& item) { write(item, depth + 1); });
      return;
    }
    if (const auto* dict = value.dict()) return write_dict(*dict, depth);
    if (value.text()) {
      out_ += json_text(*value.text(), style_.ascii);
    } else if (value.is_none()) {
      out_ += "null";
    } else if (value.is<bool>()) {
      out_ += value.integer() ? "true" : "false";
    } else if (value.is<int64_t>()) {
      out_ += std::to_string(value.integer());
    } else if (value.is<double>()) {
      out_ += float_repr(value.number(), true);
    } else {
      context_.error("tojson: a value of type {} cannot be written as JSON", value.type_name());
    }
    context_.charge(out_.size() - before);
  }

  std::string take() { return std::move(out_); }

 private:
  template <typename Items, typename Write>
  void write_items(char open, char close, const Items& items, size_t depth, Write write_item) {
    out_ += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) {
        context_.charge(style_.comma.size());
        out_ += style_.comma;
      }
      first = false;
      new_line(depth + 1);
      write_item(item);
    }
    if (!items.empty()) new_line(depth);
    out_ += close;
    context_.charge(2);
  }

  void write_dict(const Dict& dict, size_t depth) {
    std::vector<std::pair<Value, Value>> items = dict.items;
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [&](const auto& a, const auto& b) { return less(a.first, b.first, context_); });
    }
    write_items('{', '}', items, depth, [&](const auto& item) {
      const std::string key = json_key(item.first, style_.ascii, context_);
      context_.charge(key.size() + style_.colon.size());
      out_ += key + style_.colon;
      write(item.second, depth + 1);
    });
  }

  void new_line(size_t depth) {
    if (!style_.pretty) return;
    context_.charge(1 + depth * style_.indent.size());
    out_ += '\n';
    for (size_t i = 0; i < depth; ++i) out_ += style_.indent;
  }

  const JsonStyle& style_;
  Context& context_;
  std::string out_;
};

size_t checked_height(size_t height) {
  constexpr size_t kHighest = 200;
  if (height > kHighest) fail("chat template: a value is nested more than {} deep", kHighest);
  return height;
}

std::string sequence_repr(const List& list, Context& context) {
  const bool tuple = list.kind == List::Kind::Tuple;
  std::string out = tuple ? "(" : "[";
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    out += repr(list.items[i], context);
  }
  if (tuple && list.items.size() == 1) out += ',';
  return out + (tuple ? ")" : "]");
}

}  // namespace

Value::Value(List v) {
  for (const Value& item : v.items) v.height = std::max(v.height, item.height());
  v.height = checked_height(v.height + 1);
  storage_ = std::make_shared<const List>(std::move(v));
}

Value::Value(Dict v) {
  for (const auto& [key, item] : v.items) v.height = std::max({v.height, key.height(), item.height()});
  v.height = checked_height(v.height + 1);
  storage_ = std::make_shared<const Dict>(std::move(v));
}

Value::Value(Function v) {
  checked_height(v.height);
  storage_ = std::make_shared<const Function>(std::move(v));
}

size_t Value::height() const {
  return list() ? list()->height : dict() ? dict()->height : function() ? function()->height : 0;
}

Value Value::undefined(std::string what) {
  Value v;
  v.storage_ = Undefined{std::make_shared<const std::string>(std::move(what))};
  return v;
}

Value Value::from_json(const Json& json, Context& context) {
  const Context::Level level(context);
  context.step();
  const auto valid_text = [&](const std::string& text) {
    if (!is_valid_utf8(text)) fail("chat: a message has text that is not valid UTF-8");
    context.charge(text.size());
    return text;
  };
  if (json.is_null() || json.is_discarded()) return None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    fail("chat: the number {} is too large", json.get<uint64_t>());
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_string()) return valid_text(json.get_ref<const std::string&>());
  if (json.is_array()) {
    List list;
    for (const Json& item : json) list.items.push_back(from_json(item, context));
    return list;
  }
  if (!json.is_object()) fail("chat: binary data cannot be in a message");
  Dict dict;
  for (const auto& [key, item] : json.items()) dict.items.emplace_back(valid_text(key), from_json(item, context));
  return dict;
}

const std::string* Value::text() const {
  const auto* p = std::get_if<std::shared_ptr<const Text>>(&storage_);
  return p ? &(*p)->utf8 : nullptr;
}
bool Value::markup() const {
  const auto* p = std::get_if<std::shared_ptr<const Text>>(&storage_);
  return p && (*p)->markup;
}
const List* Value::list() const {
  const auto* p = std::get_if<std::shared_ptr<const List>>(&storage_);
  return p ? p->get() : nullptr;
}
const Dict* Value::dict() const {
  const auto* p = std::get_if<std::shared_ptr<const Dict>>(&storage_);
  return p ? p->get() : nullptr;
}
Namespace* Value::name_space() const {
  const auto* p = std::get_if<std::shared_ptr<Namespace>>(&storage_);
  return p ? p->get() : nullptr;
}
Loop* Value::loop() const {
  const auto* p = std::get_if<std::shared_ptr<Loop>>(&storage_);
  return p ? p->get() : nullptr;
}
const Function* Value::function() const {
  const auto* p = std::get_if<std::shared_ptr<const Function>>(&storage_);
  return p ? p->get() : nullptr;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_integer()) return integer() != 0;
  if (is<double>()) return number() != 0;
  if (text()) return !text()->empty();
  if (list()) return list()->kind == List::Kind::Iterator || !list()->items.empty();
  if (dict()) return !dict()->items.empty();
  return true;
}

std::string_view Value::type_name() const {
  if (const auto* l = list()) {
    return l->kind == List::Kind::List ? "list" : l->kind == List::Kind::Tuple ? "tuple" : "iterator";
  }
  constexpr std::string_view kNames[] = {"undefined", "None", "bool",      "int",  "float",   "str",
                                         "list",      "dict", "namespace", "loop", "function"};
  return kNames[storage_.index()];
}

bool same_text(const std::string& a, const std::string& b, Context& context) {
  if (a.size() != b.size()) return false;
  context.read(a.size());
  return a == b;
}

bool equal(const Value& a, const Value& b, Context& context) {
  const Context::Level level(context);
  context.step();
  if (a.is_number() && b.is_number()) {
    return a.is_integer() && b.is_integer() ? a.integer() == b.integer() : a.number() == b.number();
  }
  if (a.text() && b.text()) return same_text(*a.text(), *b.text(), context);
  if (a.list() && b.list()) {
    const List &x = *a.list(), &y = *b.list();
    if (&x == &y) return true;
    if (x.kind != y.kind || x.kind > List::Kind::Tuple || x.items.size() != y.items.size()) return false;
    return std::equal(x.items.begin(), x.items.end(), y.items.begin(),
                      [&](const Value& p, const Value& q) { return equal(p, q, context); });
  }
  if (a.dict() && b.dict()) {
    const Dict &x = *a.dict(), &y = *b.dict();
    if (x.items.size() != y.items.size()) return false;
    return std::all_of(x.items.begin(), x.items.end(), [&](const auto& item) {
      const Value* other = find(y, item.first, context);
      return other && equal(item.second, *other, context);
    });
  }
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  if (a.loop() || b.loop()) return a.loop() == b.loop();
  if (a.function() || b.function()) return a.function() == b.function();
  return (a.is_undefined() && b.is_undefined()) || (a.is_none() && b.is_none());
}

bool less(const Value& a, const Value& b, Context& context) {
  const Context::Level level(context);
  context.step();
  if (a.is_number() && b.is_number()) {
    return a.is_integer() && b.is_integer() ? a.integer() < b.integer() : a.number() < b.number();
  }
  if (a.text() && b.text()) {
    context.read(std::min(a.text()->size(), b.text()->size()));
    return *a.text() < *b.text();  // the order of code points is that of UTF-8's bytes
  }
  if (a.list() && b.list() && a.list()->kind == b.list()->kind && a.list()->kind <= List::Kind::Tuple) {
    const auto &x = a.list()->items, &y = b.list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i], context)) return less(x[i], y[i], context);
    }
    return x.size() < y.size();
  }
  context.error("values of type {} and {} have no order", a.type_name(), b.type_name());
}

std::string repr(const Value& value, Context& context) {
  const Context::Level level(context);
  context.step();
  if (value.text()) {
    if (value.markup()) context.error("the representation of text marked as safe is not supported");
    std::string out = text_repr(*value.text());
    context.charge(out.size());
    return out;
  }
  if (value.is_none()) return "None";
  if (value.is_undefined()) return "Undefined";
  if (value.is<bool>()) return value.integer() ? "True" : "False";
  if (value.is<int64_t>()) return std::to_string(value.integer());
  if (value.is<double>()) return float_repr(value.number(), false);
  std::string out;
  if (const auto* list = value.list(); list && list->kind <= List::Kind::Tuple) {
    out = sequence_repr(*list, context);
  } else if (const auto* dict = value.dict()) {
    out = "{";
    for (size_t i = 0; i < dict->items.size(); ++i) {
      if (i > 0) out += ", ";
      out += repr(dict->items[i].first, context) + ": " + repr(dict->items[i].second, context);
    }
    out += "}";
  } else {
    context.error("a value of type {} cannot be printed", value.type_name());
  }
  context.charge(out.size());
  return out;
}

std::string to_text(const Value& value, Context& context) {
  if (value.text()) {
    context.charge(value.text()->size());
    return *value.text();
  }
  return value.is_undefined() ? "" : repr(value, context);
}

const Value* find(const Dict& dict, const Value& key, Context& context) {
  context.step(1 + dict.items.size() / 16);
  for (const auto& [k, v] : dict.items) {
    if (key.text() ? k.text() && same_text(*k.text(), *key.text(), context) : equal(k, key, context)) return &v;
  }
  return nullptr;
}

void assign(Dict& dict, const Value& key, Value value, Context& context) {
  if (!key.text() && !key.is_number() && !key.is_none() && !key.list()) {
    context.error("a value of type {} cannot be a key", key.type_name());
  }
  if (const Value* found = find(dict, key, context)) {
    const_cast<Value&>(*found) = std::move(value);
  } else {
    dict.items.emplace_back(key, std::move(value));
  }
}

std::vector<Value> iterate(const Value& value, Context& context) {
  std::vector<Value> items;
  if (const auto* list = value.list()) {
    items.assign(list->items.begin() + static_cast<std::ptrdiff_t>(list->at), list->items.end());
    if (list->kind == List::Kind::Iterator) list->at = list->items.size();
  } else if (const auto* dict = value.dict()) {
    for (const auto& item : dict->items) items.push_back(item.first);
  } else if (const auto* text = value.text()) {
    context.charge(text->size() * sizeof(Text));
    for (size_t at = 0; at < text->size();) {
      const size_t begin = at;
      next_code_point(*text, at);
      items.emplace_back(text->substr(begin, at - begin));
    }
  } else if (!value.is_undefined()) {
    context.error("a value of type {} cannot be iterated over", value.type_name());
  }
  context.step(items.size());
  context.charge(items.size() * sizeof(Value));
  return items;
}

bool contains(const Value& container, const Value& item, Context& context) {
  if (const auto* text = container.text()) {
    if (!item.text()) context.error("'in' of a string needs a string, not {}", item.type_name());
    context.search(text->size(), item.text()->size());
    return text->find(*item.text()) != std::string::npos;
  }
  if (const auto* dict = container.dict()) return find(*dict, item, context) != nullptr;
  const std::vector<Value> items = iterate(container, context);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, item, context); });
}

size_t length(const Value& value, Context& context) {
  if (const auto* text = value.text()) {
    context.step(1 + text->size() / 64);
    return count_code_points(*text);
  }
  if (const auto* list = value.list(); list && list->kind != List::Kind::Iterator) return list->items.size();
  if (const auto* dict = value.dict()) return dict->items.size();
  if (const auto* loop = value.loop()) return loop->items.size();
  if (value.is_undefined()) return 0;
  context.error("a value of type {} has no length", value.type_name());
}

std::string to_json(const Value& value, const JsonStyle& style, Context& context) {
  JsonWriter writer(style, context);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace lowbit::jinja
