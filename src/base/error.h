// The one exception of lowbit, and the one way to raise it.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace lowbit {

/// Something that a user can mend. The message is one line: what is wrong, where (file, tensor, field), what to do.
/// Caught only at the program's edges: the command line, a request handler, a binding, the thread pool's join.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// `message` as one line of bounded length: control characters (which a hostile file may have put into a name) escaped.
std::string one_line(std::string message);

/// Throws an Error with a message in fmt's syntax, made one line.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(one_line(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace lowbit
