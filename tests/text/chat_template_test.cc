#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <optional>

#include "base/error.h"
#include "base/file.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

constexpr std::time_t kNow = 1700000000;

class ChatTemplate : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }

  static std::string render(std::string_view source, Json variables = Json::object()) {
    ChatOptions options;
    options.now = kNow;
    Json messages = Json::array();
    if (variables.contains("messages")) messages = variables["messages"];
    if (variables.contains("tools")) options.tools = variables["tools"];
    if (variables.contains("add_generation_prompt")) options.add_generation_prompt = variables["add_generation_prompt"];
    if (variables.contains("bos_token")) options.bos_token = variables["bos_token"];
    if (variables.contains("eos_token")) options.eos_token = variables["eos_token"];
    options.variables = std::move(variables);
    return render_chat(source, messages, options);
  }

  static std::string error_of(std::string_view source, Json variables = Json::object()) {
    try {
      render(source, std::move(variables));
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      return e.what();
    }
    return "no error";
  }
};

/// Each case as jinja2 renders it, set up as transformers does (tools/goldens/chat_templates.py); where it refuses, so
/// does render_chat. LOWBIT_CHAT_CASES names a larger file, made from the templates of real models.
void expect_cases(const std::string& path, const std::function<std::string(const std::string&, const Json&)>& render) {
  const Json golden = parse_json(read_text_file(path), path);
  size_t equal = 0, refused = 0;
  for (const Json& c : golden["cases"]) {
    Json variables = golden["variables"];
    for (const auto& [name, value] : c["variables"].items()) variables[name] = value;
    const auto source = c["template"].get<std::string>();
    std::optional<std::string> got;
    std::string error;
    try {
      got = render(source, variables);
    } catch (const Error& e) {
      error = e.what();
    }
    if (!c.contains("expected")) {
      EXPECT_FALSE(got) << source.substr(0, 300) << "\n  should be refused; gave: " << *got;
      refused += !got;
    } else {
      EXPECT_EQ(got.value_or("Error: " + error), c["expected"].get<std::string>()) << source.substr(0, 300);
      equal += got && *got == c["expected"].get<std::string>();
    }
  }
  std::cout << path << ": " << equal << " equal, " << refused << " refused by both, of " << golden["cases"].size()
            << "\n";
  EXPECT_GT(equal, 100u);
}

TEST_F(ChatTemplate, EqualsJinja) {
  expect_cases(std::string(LOWBIT_TEST_DATA) + "/text/chat_templates.json",
               [](const std::string& source, const Json& variables) { return render(source, variables); });
}

TEST_F(ChatTemplate, EqualsJinjaOnCasesFile) {
  const char* path = std::getenv("LOWBIT_CHAT_CASES");
  if (!path) GTEST_SKIP() << "LOWBIT_CHAT_CASES names no file";
  expect_cases(path, [](const std::string& source, const Json& variables) { return render(source, variables); });
}

TEST_F(ChatTemplate, ErrorsTellTheLine) {
  EXPECT_THAT(error_of("a\nb\n{{ 1 + }}"), HasSubstr("line 3"));
  EXPECT_THAT(error_of("a\n\n{{ x.y }}"), HasSubstr("line 3: 'x' is undefined"));
  EXPECT_THAT(error_of("\n{% set x = 'a\nb' %}\n{{ raise_exception('no') }}"), HasSubstr("line 4: no"));
  EXPECT_THAT(error_of("{{ [] | nope }}"), HasSubstr("the filter 'nope' is not supported"));
  EXPECT_THAT(error_of("\xff"), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of("{{ 9223372036854775808 }}"), HasSubstr("out of range"));
  EXPECT_THAT(error_of("{{ 9223372036854775807 + 1 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(error_of("{{ (-9223372036854775807 - 1) // -1 }}"), HasSubstr("64 bits"));
}

std::string repeated(const std::string& part, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += part;
  return out;
}

TEST_F(ChatTemplate, HostileTemplatesEndInAnError) {
  std::string many_names;
  for (int i = 0; i < 50000; ++i) many_names += fmt::format("{{%set a{}=1%}}", i);
  const std::vector<std::string> hostile = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(x) %}{{ m(m(x)) }}{% endmacro %}{{ m(1) }}",
      "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | "
      "tojson }}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = {'a': ns.s} %}{% endfor %}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}{% set ns.s = [ns.s.index] %}{% endfor %}",
      "{{ 'x' * 1000000000000 }}",
      "{{ [0] * 1000000000000 }}",
      "{{ 'ab' | replace('', 'x' * 1000000) * 1000 }}",
      "{{ 'x' | indent(999999999) }}",
      "{{ range(9223372036854775807) }}",
      "{{ 10 ** 10 ** 10 }}",
      "{{ range(99999) | list | tojson(separators=['x' * 1000000, ':']) }}",
      "{{ ('a' * 5000000 + 'b') in 'a' * 10000000 }}",
      "{{ ('a' * 10000000).rfind('b' + 'a' * 5000000) }}",
      "{{ ('a' * 10000000).split('a' * 5000000 + 'b') }}",
      "{{ ('a' * 10000000) | replace('a' * 5000000 + 'b', '') }}",
      "{{ ('\n' * 100000000).splitlines() }}",
      "{{ ('\n' * 100000000) | indent }}",
      "{% set a = 'x' * 50000000 %}{% set b = 'x' * 50000000 %}{% for i in range(99999) %}{{ a == b }}{% endfor %}",
      "{% set a = 'x' * 50000000 %}{% set b = 'x' * 50000000 %}{% for i in range(99999) %}{{ a < b }}{% endfor %}",
      "{% set a = 'x' * 50000000 %}{% for i in range(99999) %}{{ a | int }}{% endfor %}",
      "{{ " + repeated("a", 201) + " }}",
      many_names,
      repeated("{{ ", 1000),
      "{{ " + repeated("(", 100000) + repeated(")", 100000) + " }}",
      "{{ " + repeated("[", 100000) + " }}",
      "{{ " + repeated("-", 100000) + "1 }}",
      "{{ " + repeated("not ", 100000) + "1 }}",
      "{{ 1" + repeated(" + 1", 100000) + " }}",
      "{{ x" + repeated(".y", 100000) + " }}",
      "{{ x" + repeated("|trim", 100000) + " }}",
      "{{ 1" + repeated(" if 1 else 1", 50000) + " }}",
      repeated("{% if 1 %}", 50000),
      repeated("{% for i in [1] %}", 50000),
      "{% set " + repeated("(", 100000),
      std::string(2 << 20, ' '),
  };
  for (const std::string& source : hostile) {
    EXPECT_THAT(error_of(source), HasSubstr("chat template")) << source.substr(0, 80);
  }
}

TEST_F(ChatTemplate, LargeTextsAreNotKeptInMessages) {
  EXPECT_EQ(render("{% set k = 'x' * 10000000 %}{% set ns = namespace(l=[]) %}{% for i in range(1000) %}"
                   "{% set ns.l = ns.l + [{}[k]] %}{% endfor %}{{ ns.l | length }}"),
            "1000");
}

TEST_F(ChatTemplate, ArithmeticAtItsEdges) {
  EXPECT_EQ(
      render("{{ (-9223372036854775807 - 1) % 3 }} {{ (-9223372036854775807 - 1) // 3 }} {{ -7 % 3 }} {{ 7 % -3 }}"),
      "1 -3074457345618258603 2 -2");
  EXPECT_EQ(render("{{ 4.5 is divisibleby 1.5 }} {{ 9 is divisibleby 2 }} {{ '%s' is divisibleby 3 }}"),
            "True False False");
  EXPECT_EQ(render("{{ 'aé今😀'[2] }} {{ 'aé今😀'[-1] }} {{ 'aé今😀'[0] }}"), "今 😀 a");
}

TEST_F(ChatTemplate, ValuesThatHoldThemselvesAreFreed) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns] %}{{ ns.me == ns }}"), "True");
  EXPECT_EQ(render("{% macro m() %}{% endmacro %}{% set ns = namespace(m=m) %}{{ ns.m is callable }}"), "True");
  EXPECT_THAT(error_of("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me }}"), HasSubstr("cannot be printed"));
  // Chains without end, of namespaces, loops and macros.
  EXPECT_EQ(render("{% set ns = namespace() %}{% for i in range(50000) %}{% set ns.s = namespace(a=ns.s) %}{% endfor %}"
                   "{% set ns.s = 1 %}x"),
            "x");
  EXPECT_EQ(render("{% set ns = namespace() %}{% for i in range(50000) %}{% for j in [ns.s] %}{% set ns.s = loop %}"
                   "{% endfor %}{% endfor %}{% set ns.s = 1 %}x"),
            "x");
  EXPECT_EQ(
      render("{% set ns = namespace() %}{% macro m() %}{% macro n() %}{{ ns.m }}{% endmacro %}{% set k = ns.m %}"
             "{% set ns.m = n %}{% endmacro %}{% for i in range(50000) %}{{ m() }}{% endfor %}{% set ns.m = 1 %}x"),
      "x");
  EXPECT_EQ(render("{% for i in [1, 2] %}{{ loop.changed(loop) }}{% endfor %}"), "TrueFalse");
}

TEST_F(ChatTemplate, OfAModel) {
  TokenizerData d;
  d.tokens = {"<s>", "</s>"};
  d.bos = 0;
  d.eos = 1;
  d.chat_template =
      "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}{{ unk_token is defined }}";
  const std::vector<ChatMessage> messages = {{"user", "Hi"}};
  EXPECT_EQ(render_chat(d, messages, true), "<s>user: Hi</s>assistant: False");
  EXPECT_EQ(render_chat(d, messages, false), "<s>user: Hi</s>False");
  d.chat_template.clear();
  EXPECT_THROW(render_chat(d, messages, true), Error);
}

TEST_F(ChatTemplate, MessagesAreChecked) {
  EXPECT_THROW(render_chat("", Json("text"), {}), Error);
  EXPECT_THROW(render_chat("", Json::array({"\xff"}), {}), Error);
  EXPECT_THROW(render_chat("", Json::array({UINT64_MAX}), {}), Error);
  Json deep = Json::array();
  for (int i = 0; i < 5000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_THROW(render_chat("", deep, {}), Error);
}

}  // namespace
}  // namespace lowbit
