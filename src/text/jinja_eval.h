// Running a parsed Jinja template, bounded in steps, depth and output.
#pragma once

#include <string>

#include "text/jinja_parse.h"

namespace lowbit::jinja {

/// Prints the template with these variables. What a template may do is compute text: it has no files and no
/// attributes but those of the values given (and today's date, for strftime_now). Throws Error naming the line, also
/// for what is not supported, for raise_exception(...), and for a template that runs too long or prints too much.
std::string render(const Body& body, const Json& variables);

/// Undefined, as Jinja knows it: false, prints nothing, has no attributes.
inline Json undefined() { return Json(Json::value_t::discarded); }
inline bool is_undefined(const Json& v) { return v.is_discarded(); }

// What Python would say of a value; shared by the evaluator and the built-in functions.
bool truth(const Json& v);
std::string to_text(const Json& v);
bool equal(const Json& a, const Json& b);

/// One filter, test or method of the language's own. Arguments are values by position, then by name.
struct Arguments {
  std::vector<Json> positional;
  Json named = Json::object();
  /// By position or name; `otherwise` if neither is given.
  Json get(size_t index, const char* name, Json otherwise) const;
};
Json apply_filter(const std::string& name, const Json& value, const Arguments& arguments, int line);
bool apply_test(const std::string& name, const Json& value, const Arguments& arguments, int line);
Json call_method(const Json& object, const std::string& name, const Arguments& arguments, int line);

}  // namespace lowbit::jinja
