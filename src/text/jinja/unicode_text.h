// Python's operations on text, which count code points. All strings here are valid UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/context.h"

namespace lowbit::jinja {

bool is_valid_utf8(std::string_view bytes);
void append_code_point(std::string& out, char32_t c);
/// Reads the code point at byte `at` and moves past it.
char32_t next_code_point(std::string_view text, size_t& at);
std::vector<char32_t> code_points(std::string_view text);
std::string from_code_points(const std::vector<char32_t>& points);
size_t count_code_points(std::string_view text);
/// The `index`-th code point as text; there must be one.
std::string code_point_at(std::string_view text, size_t index);

bool is_space(char32_t c);      ///< str.isspace
bool is_printable(char32_t c);  ///< what repr() leaves as it is
bool is_alpha(char32_t c);
bool is_digit(char32_t c);

/// str.strip / lstrip / rstrip; `chars` are the code points to strip, all white space if absent.
std::string strip(std::string_view text, std::optional<std::string_view> chars, bool left, bool right);
/// str.lower / upper. Error for the few letters whose mapping depends on their neighbours or grows.
std::string lower(std::string_view text, Context& context);
std::string upper(std::string_view text, Context& context);
std::string capitalize(std::string_view text, Context& context);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends, Context& context);
/// str.split / rsplit; white space if no separator; `most` splits, any number if negative.
std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator, int64_t most,
                               Context& context);
std::vector<std::string> rsplit(std::string_view text, std::optional<std::string_view> separator, int64_t most,
                                Context& context);
/// str.replace; all if `most` is negative.
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most, Context& context);

}  // namespace lowbit::jinja
