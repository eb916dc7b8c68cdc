#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data, pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context, pcre2_match_context_free>>;
using CompileContext =
    std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context, pcre2_compile_context_free>>;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof buffer) < 0) return fmt::format("error {}", code);
  return reinterpret_cast<const char*>(buffer);
}

// Oniguruma (Ruby syntax) to PCRE2. The two differ in the sets behind \s (PCRE2 adds U+180E), \w and \h, in {,n}, in
// {m,n}+ (a repeated interval there, a possessive one here) and in && inside a class.
std::string translate(std::string_view pattern, const std::string& where) {
  std::string out;
  int class_depth = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\') {
      ++i;
      if (next == 's') {
        out += "\\p{White_Space}";
      } else if (next == 'S') {
        out += "\\P{White_Space}";
      } else if (next == 'w') {
        out += class_depth ? "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" : "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]";
      } else if (next == 'W' && !class_depth) {
        out += "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]";
      } else if (next == 'W' || next == 'h' || next == 'H' || next == 'Q' || next == 'R' || next == 'X' ||
                 next == 'K' || next == 'G') {
        fail("{}: \\{} in the regular expression {} is not supported", where, next, pattern);
      } else {
        out += c;
        if (i < pattern.size()) out += next;
        if ((next == 'p' || next == 'P' || next == 'x') && i + 1 < pattern.size() && pattern[i + 1] == '{') {
          const size_t end = std::min(pattern.find('}', i), pattern.size() - 1);  // a name, not an interval
          out += pattern.substr(i + 1, end - i);
          i = end;
        }
      }
      continue;
    }
    if (class_depth) {
      if (c == '&' && next == '&')
        fail("{}: && inside a class of the regular expression {} is not supported", where, pattern);
      if (c == '[' && next != ':') {
        // Oniguruma nests classes; a plain '[' is legal in PCRE2 and would mean the character.
        fail("{}: a class inside a class of the regular expression {} is not supported", where, pattern);
      }
      if (c == '[') {
        const size_t end = pattern.find(":]", i + 2);
        if (end == std::string_view::npos) fail("{}: the regular expression {} has an open [:", where, pattern);
        out += pattern.substr(i, end + 2 - i);
        i = end + 1;
        continue;
      }
      if (c == ']') --class_depth;
      out += c;
      continue;
    }
    if (c == '[') {
      ++class_depth;
      out += c;
      if (next == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {  // a ']' that comes first stands for itself
        out += "\\]";
        ++i;
      }
      continue;
    }
    if (c == '{' && next == ',') {
      out += "{0";
      continue;
    }
    if (c == '}' && next == '+')
      fail("{}: an interval followed by + in the regular expression {} is not supported", where, pattern);
    out += c;
  }
  return out;
}

}  // namespace

Regex::Regex(std::string_view pattern, std::string where) : pattern_(pattern), where_(std::move(where)) {
  if (pattern.size() > 65536) fail("{}: a regular expression of {} bytes is too long", where_, pattern.size());
  if (to_valid_utf8(pattern) != pattern) fail("{}: a regular expression is not UTF-8", where_);
  const std::string translated = translate(pattern, where_);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  // Ruby's ^ and $ stand at every line, and lines end with \n only.
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (!code) fail("{}: the regular expression {} does not compile: {}", where_, pattern_, pcre2_message(error));
  code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  // Where the machine forbids writable code this fails and pcre2_match interprets: slower, equal results.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

std::vector<Span> Regex::find_all(std::string_view text) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const MatchData data(pcre2_match_data_create_from_pattern(code, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  if (!data || !context) throw std::bad_alloc();
  // Honest patterns take a few steps a character of one match; a match may be the whole text.
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<uint64_t>(1000000 + text.size() * 16, 1u << 31)));
  pcre2_set_heap_limit(context.get(), 512 * 1024);  // KiB
  std::vector<Span> found;
  size_t start = 0;
  uint32_t options = PCRE2_NO_UTF_CHECK;
  while (start <= text.size()) {
    const auto match = [&](uint32_t more) {
      return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start, options | more,
                         data.get(), context.get());
    };
    int status = match(0);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) status = match(PCRE2_NO_JIT);  // the interpreter's stack is on the heap
    if (status == PCRE2_ERROR_NOMATCH) break;
    if (status < 0)
      fail("{}: the regular expression {} gives up on this text: {}", where_, pattern_, pcre2_message(status));
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data.get());
    if (offsets[1] < offsets[0]) fail("{}: the regular expression {} ends before it starts", where_, pattern_);
    if (offsets[1] == offsets[0]) {
      // An empty match right after the last one does not count; look on from the next character.
      if (found.empty() || found.back().end != offsets[0]) found.push_back({offsets[0], offsets[1]});
      if (offsets[0] >= text.size()) break;
      start = offsets[0] + decode_utf8(text, offsets[0]).size;
    } else {
      found.push_back({offsets[0], offsets[1]});
      start = offsets[1];
    }
  }
  return found;
}

std::string regex_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\^$.[]|()?*+{}/&-#").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace lowbit
