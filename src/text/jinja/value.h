// The values of the template language, with the meaning that Python gives them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "text/jinja/context.h"

namespace lowbit::jinja {

class Value;
class Interpreter;

/// Jinja's Undefined: prints as nothing, but most of what is done with it is an error, which quotes `what`.
struct Undefined {
  std::shared_ptr<const std::string> what;
};
struct None {};

struct Text {
  std::string utf8;     ///< always valid UTF-8
  bool markup = false;  ///< marked by the filter `safe`: text added to it with + is escaped as HTML
};

struct List {
  /// A view is what dict.items() gives; an iterator (map, select, ...) can be walked once and has no length.
  enum class Kind { List, Tuple, View, Iterator };
  std::vector<Value> items;
  Kind kind = Kind::List;
  mutable size_t at = 0;  ///< Iterator: the first item not yet taken
  size_t height = 0;      ///< set by Value: the levels of nesting, bounded so that values can be walked and freed
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  ///< in order of insertion
  size_t height = 0;                           ///< as List's
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> items;
};

/// What `loop` is inside a for: the items and where the loop stands.
struct Loop {
  std::vector<Value> items;
  size_t index = 0;
  std::vector<Value> changed;  ///< the values that loop.changed() saw last
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Function {
  std::string name;
  std::function<Value(Interpreter&, Arguments&)> call;
  size_t height = 1;  ///< as List's, with the value that a method is bound to
};

class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                               std::shared_ptr<Loop>, std::shared_ptr<const Function>>;

  Value() = default;  ///< undefined, without a name
  Value(None v) : storage_(v) {}
  Value(bool v) : storage_(v) {}
  Value(int64_t v) : storage_(v) {}
  Value(double v) : storage_(v) {}
  Value(std::string v) : storage_(std::make_shared<const Text>(Text{std::move(v)})) {}
  Value(Text v) : storage_(std::make_shared<const Text>(std::move(v))) {}
  Value(List v);  ///< throws Error, as do the next two, if it is nested too deep
  Value(Dict v);
  Value(Function v);
  Value(std::shared_ptr<Namespace> v) : storage_(std::move(v)) {}
  Value(std::shared_ptr<Loop> v) : storage_(std::move(v)) {}
  Value(const char*) = delete;  // would become a bool

  static Value undefined(std::string what);
  static Value list(std::vector<Value> items, List::Kind kind = List::Kind::List) {
    return List{std::move(items), kind};
  }
  static Value integer(size_t v) { return static_cast<int64_t>(v); }
  /// Throws Error for an integer beyond 64 bits and for text that is not UTF-8.
  static Value from_json(const Json& json, Context& context);

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(storage_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_none() const { return is<None>(); }
  bool is_number() const { return is<bool>() || is<int64_t>() || is<double>(); }
  bool is_integer() const { return is<bool>() || is<int64_t>(); }  ///< Python's True is 1

  /// The content if it is of that kind, else nullptr.
  const std::string* text() const;
  const List* list() const;
  const Dict* dict() const;
  Namespace* name_space() const;
  Loop* loop() const;
  const Function* function() const;
  bool markup() const;
  int64_t integer() const { return is<bool>() ? std::get<bool>(storage_) : std::get<int64_t>(storage_); }
  double number() const { return is<double>() ? std::get<double>(storage_) : static_cast<double>(integer()); }
  const Undefined& undefined_info() const { return std::get<Undefined>(storage_); }

  bool truthy() const;
  /// Levels of nesting: 0 for plain values, and for what the interpreter keeps until the end (namespaces, loops).
  size_t height() const;
  /// What Python calls the type, for messages.
  std::string_view type_name() const;

 private:
  Storage storage_;
};

/// Whether two texts are the same; counted, as they may be long.
bool same_text(const std::string& a, const std::string& b, Context& context);
/// Python's ==.
bool equal(const Value& a, const Value& b, Context& context);
/// Python's <; Error where Python has a TypeError.
bool less(const Value& a, const Value& b, Context& context);
/// Python's str() and repr(). Error for what has no stable spelling (a function, a namespace).
std::string to_text(const Value& value, Context& context);
std::string repr(const Value& value, Context& context);
/// The value at a key, or nullptr.
const Value* find(const Dict& dict, const Value& key, Context& context);
/// Sets dict[key].
void assign(Dict& dict, const Value& key, Value value, Context& context);
/// The items that a for loop would see. Error where Python cannot iterate.
std::vector<Value> iterate(const Value& value, Context& context);
/// What `in` says.
bool contains(const Value& container, const Value& item, Context& context);
/// Python's len(). Error where there is none.
size_t length(const Value& value, Context& context);

struct JsonStyle {
  bool pretty = false;
  std::string indent;
  std::string comma = ", ", colon = ": ";
  bool sort_keys = false, ascii = false;
};
/// Python's json.dumps.
std::string to_json(const Value& value, const JsonStyle& style, Context& context);

}  // namespace lowbit::jinja
