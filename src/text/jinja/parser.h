// Tokens to a tree, by Jinja 2's grammar.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace lowbit::jinja {

/// Throws Error, with the line, on what is not a template and on the statements that chat templates do not use
/// (extends, include, import, block, autoescape, recursive loops).
Body parse_template(std::string_view source);

}  // namespace lowbit::jinja
