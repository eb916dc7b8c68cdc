#include "text/jinja_eval.h"

#include <cmath>
#include <ctime>
#include <map>

#include "base/error.h"

namespace lowbit::jinja {
namespace {

constexpr int64_t kMostSteps = 500'000, kMostItems = 100'000;
constexpr size_t kMostOutput = size_t{64} << 20;
constexpr int kMostDepth = 200;

enum class Flow { Next, Break, Continue };

class Evaluator {
 public:
  explicit Evaluator(const Json& variables) {
    scopes_.emplace_back();
    for (const auto& [name, value] : variables.items()) scopes_[0][name] = value;
    // Templates ask whether these functions are there before they call them.
    for (const char* function : {"strftime_now", "raise_exception"}) scopes_[0][function] = function;
  }

  std::string run(const Body& body) {
    execute(body);
    return std::move(out_);
  }

 private:
  // --- statements
  Flow execute(const Body& body) {
    for (const Node& node : body) {
      step(node.line);
      const Flow flow = execute(node);
      if (flow != Flow::Next) return flow;
    }
    return Flow::Next;
  }

  Flow execute(const Node& node) {
    switch (node.kind) {
      case Node::Kind::Text:
        print(node.text, node.line);
        return Flow::Next;
      case Node::Kind::Output:
        print(to_text(evaluate(*node.values[0])), node.line);
        return Flow::Next;
      case Node::Kind::If:
        for (size_t i = 0; i < node.values.size(); ++i) {
          if (truth(evaluate(*node.values[i]))) return execute(node.bodies[i]);
        }
        return node.bodies.size() > node.values.size() ? execute(node.bodies.back()) : Flow::Next;
      case Node::Kind::For:
        loop(node);
        return Flow::Next;
      case Node::Kind::Set:
        set(node);
        return Flow::Next;
      case Node::Kind::Macro:
        macros_[node.text] = &node;
        return Flow::Next;
      case Node::Kind::Break:
        return Flow::Break;
      case Node::Kind::Continue:
        return Flow::Continue;
      case Node::Kind::Block:
        return execute(node.bodies[0]);
    }
    return Flow::Next;
  }

  void loop(const Node& node) {
    std::vector<Json> items;
    for (Json& item : items_of(evaluate(*node.values[0]), node.line)) {
      if (node.values[1] != nullptr) {
        const Scope scope(*this);
        bind(node, item);
        if (!truth(evaluate(*node.values[1]))) continue;
      }
      items.push_back(std::move(item));
    }
    if (items.empty() && node.bodies.size() > 1) {
      execute(node.bodies[1]);
      return;
    }
    const size_t n = items.size();
    for (size_t i = 0; i < n; ++i) {
      step(node.line);
      const Scope scope(*this);
      bind(node, items[i]);
      scopes_.back()["loop"] = {{"index", i + 1},
                                {"index0", i},
                                {"revindex", n - i},
                                {"revindex0", n - i - 1},
                                {"first", i == 0},
                                {"last", i + 1 == n},
                                {"length", n},
                                {"previtem", i > 0 ? items[i - 1] : Json(nullptr)},
                                {"nextitem", i + 1 < n ? items[i + 1] : Json(nullptr)}};
      if (i == 0) scopes_.back()["loop"].erase("previtem");
      if (i + 1 == n) scopes_.back()["loop"].erase("nextitem");
      if (execute(node.bodies[0]) == Flow::Break) break;
    }
  }

  void bind(const Node& node, const Json& item) {
    if (node.names.size() == 1) {
      scopes_.back()[node.names[0]] = item;
      return;
    }
    if (!item.is_array() || item.size() != node.names.size()) {
      fail("chat template, line {}: cannot take {} apart into {} names", node.line, to_text(item).substr(0, 40),
           node.names.size());
    }
    for (size_t i = 0; i < node.names.size(); ++i) scopes_.back()[node.names[i]] = item[i];
  }

  void set(const Node& node) {
    Json value;
    if (node.values.empty()) {
      std::string outer;
      std::swap(outer, out_);
      execute(node.bodies[0]);
      std::swap(outer, out_);
      value = outer;
    } else {
      value = evaluate(*node.values[0]);
    }
    if (!node.text.empty()) {  // an attribute of a namespace: changed where the namespace lives
      Json* object = find(node.text);
      if (object == nullptr || !object->is_object())
        fail("chat template, line {}: {} is no namespace", node.line, node.text);
      (*object)[node.names[0]] = value;
      return;
    }
    bind(node, value);
  }

  // --- expressions
  Json evaluate(const Expr& e) {
    step(e.line);
    if (++depth_ > kMostDepth) fail("chat template, line {}: is nested too deeply", e.line);
    Json value = compute(e);
    --depth_;
    return value;
  }

  Json compute(const Expr& e) {
    switch (e.kind) {
      case Expr::Kind::Literal:
        return e.literal;
      case Expr::Kind::Variable: {
        const Json* found = find(e.text);
        return found != nullptr ? *found : undefined();
      }
      case Expr::Kind::Attribute:
        return member(evaluate(*e.parts[0]), e.text, e.line);
      case Expr::Kind::Subscript:
        return subscript(evaluate(*e.parts[0]), evaluate(*e.parts[1]), e.line);
      case Expr::Kind::Slice:
        return slice(e);
      case Expr::Kind::Call:
        return call(e);
      case Expr::Kind::Filter:
        return apply_filter(e.text, evaluate(*e.parts[0]), arguments_of(e), e.line);
      case Expr::Kind::Test:
        return apply_test(e.text, evaluate(*e.parts[0]), arguments_of(e), e.line);
      case Expr::Kind::Unary:
        return unary(e);
      case Expr::Kind::Binary:
        return binary(e);
      case Expr::Kind::Conditional:
        if (truth(evaluate(*e.parts[1]))) return evaluate(*e.parts[0]);
        return e.parts[2] != nullptr ? evaluate(*e.parts[2]) : undefined();
      case Expr::Kind::List: {
        Json list = Json::array();
        for (const ExprPtr& part : e.parts) list.push_back(evaluate(*part));
        return list;
      }
      case Expr::Kind::Dict: {
        Json dict = Json::object();
        for (size_t i = 0; i < e.parts.size(); i += 2) dict[to_text(evaluate(*e.parts[i]))] = evaluate(*e.parts[i + 1]);
        return dict;
      }
    }
    return undefined();
  }

  static Json member(const Json& object, const std::string& name, int line) {
    if (is_undefined(object)) fail("chat template, line {}: .{} is asked of something undefined", line, name);
    if (object.is_object() && object.contains(name)) return object[name];
    return undefined();
  }

  static Json subscript(const Json& object, const Json& key, int line) {
    if (is_undefined(object)) fail("chat template, line {}: a subscript is asked of something undefined", line);
    if (object.is_object()) return key.is_string() ? member(object, key.get<std::string>(), line) : undefined();
    if (!key.is_number_integer()) return undefined();
    const auto i = key.get<int64_t>();
    if (object.is_array()) {
      const auto n = static_cast<int64_t>(object.size());
      const int64_t at = i < 0 ? i + n : i;
      return at >= 0 && at < n ? object[static_cast<size_t>(at)] : undefined();
    }
    if (object.is_string()) {
      const auto& text = object.get_ref<const std::string&>();
      const auto n = static_cast<int64_t>(text.size());
      const int64_t at = i < 0 ? i + n : i;
      return at >= 0 && at < n ? Json(text.substr(static_cast<size_t>(at), 1)) : undefined();
    }
    return undefined();
  }

  Json slice(const Expr& e) {
    const Json object = evaluate(*e.parts[0]);
    if (!object.is_array() && !object.is_string())
      fail("chat template, line {}: only lists and strings have slices", e.line);
    const auto n =
        static_cast<int64_t>(object.is_string() ? object.get_ref<const std::string&>().size() : object.size());
    const auto bound = [&](size_t part, int64_t otherwise) {
      const Json v = e.parts[part] != nullptr ? evaluate(*e.parts[part]) : Json(nullptr);
      return v.is_number_integer() ? v.get<int64_t>() : otherwise;
    };
    const int64_t stride = bound(3, 1);
    if (stride == 0 || stride < -kMostItems || stride > kMostItems)
      fail("chat template, line {}: a slice has the step {}", e.line, stride);
    const auto clamped = [&](int64_t i) {
      return std::clamp<int64_t>(i < 0 ? i + n : i, stride > 0 ? 0 : -1, stride > 0 ? n : n - 1);
    };
    const int64_t begin = e.parts[1] != nullptr ? clamped(bound(1, 0)) : stride > 0 ? 0 : n - 1;
    const int64_t end = e.parts[2] != nullptr ? clamped(bound(2, n)) : stride > 0 ? n : -1;
    Json list = Json::array();
    std::string text;
    for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) {
      if (object.is_string()) {
        text += object.get_ref<const std::string&>()[static_cast<size_t>(i)];
      } else {
        list.push_back(object[static_cast<size_t>(i)]);
      }
    }
    return object.is_string() ? Json(text) : list;
  }

  Arguments arguments_of(const Expr& e) {
    Arguments out;
    for (const Argument& a : e.arguments) {
      if (a.name.empty()) {
        out.positional.push_back(evaluate(*a.value));
      } else {
        out.named[a.name] = evaluate(*a.value);
      }
    }
    return out;
  }

  Json call(const Expr& e) {
    const Expr& callee = *e.parts[0];
    const Arguments arguments = arguments_of(e);
    if (callee.kind == Expr::Kind::Attribute) {
      return call_method(evaluate(*callee.parts[0]), callee.text, arguments, e.line);
    }
    if (callee.kind != Expr::Kind::Variable) fail("chat template, line {}: this cannot be called", e.line);
    if (const auto macro = macros_.find(callee.text); macro != macros_.end())
      return call_macro(*macro->second, arguments);
    if (callee.text == "raise_exception") {
      fail("chat template, line {}: {}", e.line,
           to_text(arguments.get(0, "message", "the conversation is not acceptable")));
    }
    if (callee.text == "namespace" || callee.text == "dict") return arguments.named;
    if (callee.text == "range") return range(arguments, e.line);
    if (callee.text == "strftime_now") return today(to_text(arguments.get(0, "format", "%Y-%m-%d")));
    fail("chat template, line {}: the function {} is not supported", e.line, callee.text);
  }

  static Json today(const std::string& format) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    char text[256];
    return std::string(text, std::strftime(text, sizeof text, format.c_str(), &local));
  }

  static Json range(const Arguments& a, int line) {
    const auto at = [&](size_t i, int64_t otherwise) {
      return i < a.positional.size() && a.positional[i].is_number_integer() ? a.positional[i].get<int64_t>()
                                                                            : otherwise;
    };
    const bool one = a.positional.size() == 1;
    const int64_t begin = one ? 0 : at(0, 0), end = one ? at(0, 0) : at(1, 0), stride = at(2, 1);
    if (stride == 0) fail("chat template, line {}: range has a step of 0", line);
    Json list = Json::array();
    for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) {
      if (static_cast<int64_t>(list.size()) >= kMostItems) fail("chat template, line {}: range is too long", line);
      list.push_back(i);
    }
    return list;
  }

  Json call_macro(const Node& macro, const Arguments& arguments) {
    if (++depth_ > kMostDepth) fail("chat template, line {}: is nested too deeply", macro.line);
    const Scope scope(*this);
    for (size_t i = 0; i < macro.names.size(); ++i) {
      const Json otherwise = macro.values[i] != nullptr ? evaluate(*macro.values[i]) : undefined();
      scopes_.back()[macro.names[i]] = arguments.get(i, macro.names[i].c_str(), otherwise);
    }
    std::string outer;
    std::swap(outer, out_);
    execute(macro.bodies[0]);
    std::swap(outer, out_);
    --depth_;
    return outer;
  }

  Json unary(const Expr& e) {
    const Json v = evaluate(*e.parts[0]);
    if (e.text == "not") return !truth(v);
    if (!v.is_number()) fail("chat template, line {}: {} needs a number", e.line, e.text);
    if (e.text == "+") return v;
    if (v.is_number_integer()) return static_cast<int64_t>(0 - static_cast<uint64_t>(v.get<int64_t>()));
    return -v.get<double>();
  }

  Json binary(const Expr& e) {
    const std::string& op = e.text;
    Json left = evaluate(*e.parts[0]);
    if (op == "and") return truth(left) ? evaluate(*e.parts[1]) : left;
    if (op == "or") return truth(left) ? left : evaluate(*e.parts[1]);
    const Json right = evaluate(*e.parts[1]);
    if (op == "~") return to_text(left) + to_text(right);
    if (op == "==") return equal(left, right);
    if (op == "!=") return !equal(left, right);
    if (op == "in") return contains(right, left, e.line);
    if (op == "not in") return !contains(right, left, e.line);
    if (left.is_string() && right.is_string()) {
      const auto &a = left.get_ref<const std::string&>(), &b = right.get_ref<const std::string&>();
      if (op == "+") return a + b;
      if (op == "<") return a < b;
      if (op == ">") return a > b;
      if (op == "<=") return a <= b;
      if (op == ">=") return a >= b;
    }
    if (op == "+" && left.is_array() && right.is_array()) {
      for (const Json& item : right) left.push_back(item);
      return left;
    }
    return arithmetic(op, left, right, e.line);
  }

  static Json arithmetic(const std::string& op, const Json& left, const Json& right, int line) {
    const auto number = [](const Json& v) { return v.is_number() || v.is_boolean(); };
    if (!number(left) || !number(right)) {
      fail("chat template, line {}: {} does not go with \"{}\" and \"{}\"", line, op, to_text(left).substr(0, 40),
           to_text(right).substr(0, 40));
    }
    const auto real = [](const Json& v) {
      return v.is_boolean() ? static_cast<double>(v.get<bool>()) : v.get<double>();
    };
    const double x = real(left), y = real(right);
    if (op == "<") return x < y;
    if (op == ">") return x > y;
    if (op == "<=") return x <= y;
    if (op == ">=") return x >= y;
    if ((op == "/" || op == "//" || op == "%") && y == 0) fail("chat template, line {}: division by zero", line);
    double result = 0;
    if (op == "+")
      result = x + y;
    else if (op == "-")
      result = x - y;
    else if (op == "*")
      result = x * y;
    else if (op == "/")
      return x / y;
    else if (op == "//")
      result = std::floor(x / y);
    else if (op == "%")
      result = x - std::floor(x / y) * y;
    const bool whole = !left.is_number_float() && !right.is_number_float() && std::fabs(result) < 9e15;
    return whole ? Json(static_cast<int64_t>(result)) : Json(result);
  }

  static bool contains(const Json& container, const Json& item, int line) {
    if (container.is_string()) {
      return item.is_string() &&
             container.get_ref<const std::string&>().find(item.get_ref<const std::string&>()) != std::string::npos;
    }
    if (container.is_object()) return item.is_string() && container.contains(item.get<std::string>());
    if (container.is_array()) {
      for (const Json& x : container) {
        if (equal(x, item)) return true;
      }
      return false;
    }
    if (is_undefined(container)) return false;
    fail("chat template, line {}: in needs a list, a string or a dict", line);
  }

  std::vector<Json> items_of(const Json& v, int line) {
    std::vector<Json> out;
    if (v.is_array()) {
      out.assign(v.begin(), v.end());
    } else if (v.is_object()) {
      for (const auto& [key, value] : v.items()) out.emplace_back(key);
    } else if (v.is_string()) {
      for (const char c : v.get_ref<const std::string&>()) out.emplace_back(std::string(1, c));
    } else if (!is_undefined(v)) {
      fail("chat template, line {}: for needs a list", line);
    }
    return out;
  }

  // --- state
  struct Scope {
    explicit Scope(Evaluator& e) : evaluator(e) { evaluator.scopes_.emplace_back(); }
    ~Scope() { evaluator.scopes_.pop_back(); }
    Evaluator& evaluator;
  };

  Json* find(const std::string& name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return &found->second;
    }
    return nullptr;
  }

  void step(int line) {
    if (++steps_ > kMostSteps) fail("chat template, line {}: runs for too long", line);
  }

  void print(const std::string& text, int line) {
    if (out_.size() + text.size() > kMostOutput) fail("chat template, line {}: prints too much", line);
    out_ += text;
  }

  std::vector<std::map<std::string, Json>> scopes_;
  std::map<std::string, const Node*> macros_;
  std::string out_;
  int64_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string render(const Body& body, const Json& variables) { return Evaluator(variables).run(body); }

}  // namespace lowbit::jinja
