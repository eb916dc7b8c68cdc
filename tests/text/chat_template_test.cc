#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "text/jinja_eval.h"

namespace lowbit {
namespace {

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return jinja::render(jinja::parse(source), variables);
}

// Each expectation is what jinja2 prints with trim_blocks and lstrip_blocks on.
TEST(Jinja, PrintsAsJinja2Does) {
  const Json v = {{"xs", {1, 2, 3}}, {"name", "Ann"}, {"d", {{"a", 1}, {"b", {true, nullptr}}}}};
  EXPECT_EQ(render("a {{ name }}!", v), "a Ann!");
  EXPECT_EQ(render("{% for x in xs %}{{ loop.index }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}", v),
            "1:1,2:2,3:3");
  EXPECT_EQ(render("{% for x in xs if x > 1 %}{{ x }}{% else %}none{% endfor %}", v), "23");
  EXPECT_EQ(render("{% for x in [] %}{{ x }}{% else %}none{% endfor %}", v), "none");
  EXPECT_EQ(render("  {% if name == 'Ann' %}\n  yes\n  {% endif %}\nend\n", v), "  yes\nend");
  EXPECT_EQ(render("a  {{- name -}}  b", v), "aAnnb");
  EXPECT_EQ(render("{# a comment #}x"), "x");
  EXPECT_EQ(render("{{ xs[-1] }}{{ xs[1:] }}{{ xs[::-1] }}{{ name[:2] }}", v), "3[2, 3][3, 2, 1]An");
  EXPECT_EQ(render("{{ d | tojson }}", v), R"({"a": 1, "b": [true, null]})");
  EXPECT_EQ(render("{{ missing }}{{ missing is defined }}{{ d.zz is undefined }}", v), "FalseTrue");
  EXPECT_EQ(render("{{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }} {{ 1 + 2 * 3 }} {{ 'a' ~ 1 }}"), "3 3.5 2 7 a1");
  EXPECT_EQ(render("{{ ' x '.strip() + 'A-b'.split('-')[1] + 'abc'.upper() }}{{ 'b' in 'abc' }}"), "xbABCTrue");
  EXPECT_EQ(render("{{ none }} {{ true }} {{ not true }} {{ 1 if false else 2 }}"), "None True False 2");
  EXPECT_EQ(render("{% for k, x in d.items() %}{{ k }}={{ x }};{% endfor %}", v), "a=1;b=[True, None];");
}

TEST(Jinja, SetIsOfItsScopeAndNamespacesReachOut) {
  EXPECT_EQ(render("{% set x = 1 %}{% for i in [1, 2] %}{% set x = 9 %}{% endfor %}{{ x }}"), "1");
  EXPECT_EQ(render("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}"),
            "3");
  EXPECT_EQ(render("{% set t %}a{{ 1 }}{% endset %}{{ t }}{{ t | length }}"), "a12");
  EXPECT_EQ(render("{% macro m(a, b='y') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}{{ m('x', b='z') }}"), "xyxz");
}

TEST(Jinja, HostileTemplatesEndInOneLine) {
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "(";
  for (const std::string& source :
       {std::string("{{"), std::string("{% if x %}"), std::string("{% endif %}"), std::string("{{ 'a }}"),
        std::string("{{ 1 + }}"), std::string("{{ x.y }}"), std::string("{{ open('f') }}"),
        std::string("{{ ''.__class__ }}{{ ''.__class__() }}"), std::string("{% include 'x' %}"),
        std::string("{{ 1 // 0 }}"), std::string("{{ raise_exception('no') }}"),
        std::string("{% for i in range(1000000000) %}{% endfor %}"), "{{ " + deep, std::string("{# never closed"),
        std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), std::string("{{ x | nofilter }}"),
        std::string("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"),
        std::string("{% set s = 'aaaaaaaaaa' %}{% for i in range(99999) %}{{ s * 99 }}{% endfor %}")}) {
    try {
      render(source);
      ADD_FAILURE() << "taken: " << source.substr(0, 60);
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("chat template, line "));
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    }
  }
}

TEST(ChatTemplate, ChatMl) {
  TokenizerData d;
  d.tokens = {"<s>", "</s>"};
  d.bos = 0;
  d.eos = 1;
  d.chat_template =
      "{{ bos_token }}{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + "
      "'\\n'}}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const std::vector<ChatMessage> messages = {{"user", "Hi"}};
  EXPECT_EQ(render_chat(d, messages, true), "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render_chat(d, messages, false), "<s><|im_start|>user\nHi<|im_end|>\n");
  d.chat_template.clear();
  EXPECT_THROW(render_chat(d, messages, true), Error);
}

}  // namespace
}  // namespace lowbit
