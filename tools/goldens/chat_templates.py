"""Golden renderings of chat templates, by jinja2 as transformers sets it up.

Writes tests/data/text/chat_templates.json: a list of {"template", "variables", "expected"}; "expected" is absent where
jinja2 refuses. Needs jinja2 and transformers. Usage: python tools/goldens/chat_templates.py [OUT]
"""

import datetime
import json
import os
import sys
import time

os.environ["TZ"] = "UTC"
time.tzset()
NOW = datetime.datetime.fromtimestamp(1700000000)

TALK = [
    {"role": "system", "content": " You are \"kind\".\n"},
    {"role": "user", "content": "  Hi 你好 🙂 <b>\n"},
    {"role": "assistant", "content": " Hello.\n\n"},
    {"role": "user", "content": "x\\n{{ y }}"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
    "a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": "number"}}, "required": ["a"]}}}]

# Templates of well-known models, as published.
MODELS = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama-2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama-3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "qwen2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "phi-3": "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
}

# The language, a feature a line.
FEATURES = r"""
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 1e3 }} {{ 1.0 }} {{ 1e16 }} {{ 1.5e-7 }} {{ 123456789012.25 }} {{ 1_000 }} {{ 0 }} {{ 0.1 + 0.2 }} {{ -0.0 }}
{{ true }} {{ True }} {{ none }} {{ None }} {{ false and 1 }} {{ '' or 'x' }} {{ 0 or none }} {{ not 1 }} {{ true + 1 }}
{{ 'a' ~ 1 ~ none ~ 2.5 }} {{ 'ab' * 3 }} {{ [1, 2] + [3] }} {{ (1,) + (2,) }} {{ [0] * 2 }}
{{ [1, 'a', "it's", 'q"q', 'both\'"', none, true, 1.5, ['x'], {'k': 'v'}, (1,), ()] }}
{{ 'tab\tnl\ncr\r\\ \x41 \u4f60 \U0001f642 \q \101 \
' }}
{{ ['\x00\x7f\xa0\xad', 'é你🙂', '\u200b', '\ue000'] }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ 'a' == 1 }} {{ () == [] }}
{{ 'b' in 'abc' }} {{ 1 in [1] }} {{ 'k' in {'k': 1} }} {{ 'x' not in 'abc' }} {{ 1 in missing }} {{ '' in '' }}
{{ 'x' if 0 else 'y' }} {{ 'x' if 1 }} {{ 'x' if 0 }}| {{ 'a' if 0 else 'b' if 0 else 'c' }}
{{ missing }}|{{ missing | default('d') }}|{{ none | default('d') }}|{{ '' | default('d', true) }}|{{ missing | d }}|{{ d.x | default(1) }}
{{ missing.x }}
{{ missing + 1 }}
{{ missing() }}
{{ none + 1 }}
{{ 'a' + 1 }}
{{ 1 / 0 }}
{{ [1] < ['a'] }}
{{ 1 in none }}
{{ d.a }} {{ d['a'] }} {{ d.nothing }} {{ d['nothing'] }} {{ d.n.m }} {{ d.items() | list }} {{ d['items'] is callable }}
{{ d.nothing.more }}
{{ l[0] }} {{ l[-1] }} {{ l[9] }}| {{ l.0 }} {{ l['x'] }}| {{ 'héllo'[1] }} {{ 'héllo'[-1] }} {{ none.x }}| {{ none['x'] }}| {{ 5 .x }}
{{ 'héllo🙂'[1:3] }} {{ 'héllo'[::-1] }} {{ l[1:] }} {{ l[:-1] }} {{ l[::2] }} {{ l[-2:] }} {{ l[5:1] }} {{ l[3:0:-1] }} {{ l[-100:100] }} {{ (1,2,3)[1:] }}
{{ l[::0] }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 3 %}{{ x }}{% endfor %}{{ x }}
{% set a = 'q' %}{% for i in [1,2] %}{{ a }}{% set a = 'z' %}{{ a }}{% endfor %}{{ a }}
{% set ns = namespace(a=1, b='x') %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}|
{% set ns = namespace({'z': 5}) %}{{ ns.z }}
{% set d.x = 1 %}
{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set (c, e), f = (1, 2), 3 %}{{ c }}{{ e }}{{ f }}{% set t = 1, %}{{ t }}
{% set a, b = [1] %}
{% set x %}a {{ 1 }}{% set inner = 5 %} b{% endset %}[{{ x }}]{{ inner }}|{% set y | upper | trim %} abc {% endset %}[{{ y }}]
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.depth }} {% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añ' %}{{ c }}.{% endfor %}
{% for i in l if i % 2 %}{{ loop.index }}:{{ i }} {{ loop.last }}{% else %}none{% endfor %}{% for i in [] %}{% else %}empty{% endfor %}{% for i in missing %}{% else %}e2{% endfor %}
{% for i in none %}{% endfor %}
{% for i in 5 %}{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(3) | list }} {{ range(1, 10, 3) | list }} {{ range(5, 0, -2) | list }}
{% for a in [[1, 2], [3, 4]] %}{% set outer = loop %}{% for b in a %}{{ outer.index }}{{ loop.index }}{{ b }} {% endfor %}{% endfor %}
{% for i in [1,2] %}{{ loop.index }}{% endfor %}{{ loop }}
{% macro m(a, b='x', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(a=3, c=4) }}{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}
{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}
{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}
{% macro m(t) %}<{{ caller() }}{{ t }}>{% endmacro %}{% call m('z') %}in{% endcall %}{% macro p() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) p() %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}x{% endmacro %}{% set y = m() %}{{ y | upper }}{{ m() ~ 'z' }}{{ m() | length }}
{% filter upper %}abc {{ 'def' }}{% endfilter %}{% filter replace('a', 'b') | upper %}aaa{% endfilter %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a }}{{ c }}|
{% generation %}{{ 1 }}{% set q = 2 %}{% endgeneration %}{{ q }}|
{% raw %}{{ not }} {% this %}{% endraw %} {%- raw -%}  x  {%- endraw -%}  y
{# a comment {{ x }} #}a{#- b -#} c {#- d #} e
a  {%- if true -%}  b  {%- endif -%}  c  {{- 'd' -}}  e
a {%+ if true %} b {%+ endif +%}
{{ 'a' 'b' "c" }} {{ {'a': {'b': 1}}['a']['b'] }} {{ {'a': {}} }}
{{ "  pad  " | trim }}|{{ "xxaxx" | trim('x') }}|{{ " \u00a0\u3000 z \x1f" | trim }}|{{ 5 | trim }}
{{ d | tojson }} {{ l | tojson }} {{ 'é"\\/\n\t\x01\x7f🙂</script>' | tojson }} {{ 1.5 | tojson }} {{ none | tojson }} {{ true | tojson }} {{ 1e20 | tojson }}
{{ d | tojson(indent=2) }} {{ [] | tojson(indent=4) }} {{ {} | tojson(indent=1) }} {{ {'b': 1, 'a': [1, {}]} | tojson(sort_keys=true) }} {{ [1, {'a': 2}] | tojson(separators=(',', ':')) }} {{ 'é🙂' | tojson(ensure_ascii=true) }} {{ [[1]] | tojson(indent='--') }}
{{ {1: 'a', none: 2, true: 3, 1.5: 4} | tojson }}
{{ missing | tojson }}
{{ 'abc' | length }} {{ 'é🙂' | length }} {{ l | length }} {{ d | count }} {{ missing | length }} {{ d.items() | length }}
{{ 5 | length }}
{{ l | map('string') | length }}
{{ 'aBc' | upper }}{{ 'ÀB' | lower }}{{ 'straße' | upper }}{{ 'hELLO wORLD' | capitalize }}{{ "hello wORLD it's a-b (c)" | title }}{{ "hello wORLD it's a-b".title() }}
{{ [1, 2, 3] | join(', ') }} {{ ['a', 'b'] | join }} {{ messages | join('|', attribute='role') }} {{ 'abc' | join('-') }}
{{ l | first }} {{ l | last }} {{ [] | first }}| {{ 'abc' | first }} {{ 'abc' | last }} {{ 'abc' | list }} {{ d | list }}
{{ '12' | int }} {{ ' 12 ' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '3.9' | int }} {{ 3.9 | int }} {{ -3.9 | int }} {{ '1.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ -5 | abs }} {{ '-5' | int | abs }}
{{ 'aXbX' | replace('X', 'y') }} {{ 'aXbX' | replace('X', 'y', 1) }} {{ 'ab' | replace('', '-') }} {{ 5 | replace(5, 6) }}
{{ d | items | list }} {% for k, v in d | items %}{{ k }}{% endfor %} {{ missing | items | list }} {{ d | dictsort }} {{ {'B': 1, 'a': 2} | dictsort }} {{ {'B': 1, 'a': 2} | dictsort(true) }} {{ {'x': 2, 'y': 1} | dictsort(by='value', reverse=true) }}
{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(case_sensitive=true) }} {{ messages | sort(attribute='role') | map(attribute='role') | list }}
{{ [3, 1] | min }} {{ [3, 1] | max }} {{ [1, 2] | sum }} {{ [1, 2, 1] | unique | list }} {{ ['a', 'A', 'b'] | unique | list }} {{ 'abc' | reverse }} {{ l | reverse | list }} {{ [{'n': 2}, {'n': 3}] | sum(attribute='n') }}
{{ messages | map(attribute='role') | list }} {{ ['a', 'b'] | map('upper') | join }} {{ [{}] | map(attribute='x', default='n') | list }} {{ [[1, 2]] | map(attribute=1) | list }} {{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }} {{ none | map('upper') | list }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | list }} {{ [0, 1, 2] | select | list }} {{ [0, 1, 2] | select('odd') | list }} {{ [0, 1, 2] | reject('gt', 1) | list }} {{ messages | selectattr('name') | list }} {{ messages | selectattr('name', 'defined') | list }}
{% set g = messages | map(attribute='role') %}{{ g | first }}{{ g | join(',') }}{{ g | list }}{% if g %}y{% endif %}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ '' | indent }}|{{ 'a\n' | indent }}
{{ '%s and %d %%' | format('x', 3) }} {{ '%s' % 'y' }} {{ '%s-%s' % (1, 2) }} {{ '{} {} {{}}'.format(1, 'a') }} {{ '{1}{0}{x}'.format(1, 2, x=3) }}
{{ '%s %s' % 'y' }}
{{ '{} {}'.format(1) }}
{{ 'a<b' | safe }} {{ ('<' | safe) + '<&>"\'' }} {{ '<' + ('<' | safe) }} {{ ('<' | safe) ~ '<' }} {{ '<' | safe | length }}
{{ d | string }} {{ 5 | string | length }} {{ [1] | string }}
{{ x is defined }} {{ d.a is defined }} {{ d.q is defined }} {{ missing is undefined }} {{ none is none }} {{ 1 is number }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is number }} {{ true is boolean }} {{ 'a' is string }} {{ d is mapping }} {{ l is sequence }} {{ 'a' is sequence }} {{ d is sequence }} {{ 5 is iterable }} {{ 'a' is iterable }} {{ missing is iterable }} {{ none is iterable }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is ne(1) }} {{ 1 is lt 2 }} {{ 1 is not gt 2 }} {{ 1 is in [1] }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 'a' is lower }} {{ 'A' is upper }} {{ range is callable }} {{ l is callable }}
{{ not x is defined or 1 }} {{ x is not defined and y is not defined }} {{ 'a' if z is defined else 'b' }}
{{ ' a '.strip() }}|{{ 'xax'.strip('x') }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'a b  c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a b c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }}
{{ 'a\nb\r\nc\x0bd'.splitlines() }} {{ 'a\n'.splitlines(true) }} {{ 'abc'.startswith('a') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.startswith('b', 1) }} {{ 'aba'.replace('a', 'x') }} {{ 'aba'.replace('a', 'x', 1) }} {{ 'abcb'.find('b') }} {{ 'abcb'.rfind('b') }} {{ 'é🙂x'.find('x') }} {{ 'abc'.find('z') }} {{ 'aaa'.count('a') }} {{ '-'.join(['a', 'b']) }}
{{ 'aB'.upper() }}{{ 'aB'.lower() }}{{ 'aB'.capitalize() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' \t'.isspace() }} {{ ''.isdigit() }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }}
{{ d.get('a') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.copy() }} {{ l.index(2) }} {{ l.count(2) }}
{{ l.append(1) }}
{{ d.pop('a') }}
{{ l.append is defined }}
{{ ''.__class__ }}
{{ dict(a=1, b=2) }} {{ dict([['x', 1]]) }} {{ dict({'q': 1}, z=2) }} {% set j = joiner('; ') %}{{ j() }}a{{ j() }}b
{{ strftime_now('%Y-%m-%d %d %b %Y %H:%M') }}
{{ raise_exception('no: ' ~ 5) }}
{{ messages[0]['content'].strip().split(' ')[-1] }} {{ (messages | last)['role'] }} {{ messages[-1].content }} {{ messages | length - 1 }}
{{ 'x' if messages[0].role == 'system' and messages[0]['content'] is string else 'y' }}{{ messages[1:] | length }}
{{ 1 if true else 2, 3 }} {{ (1, 2)[0] }} {{ ((1)) }}
{{ -1 | abs }} {{ 2 - -1 }} {{ 2 + 3 | string | length }} {{ not false == true }} {{ -2 ** 2 }}
{{ f(1) }}
{{ 1 +
{% if %}{% endif %}
{% for x in y %}
{% endif %}
{{ 'unclosed }}
{% unknown %}
{{ a b }}
{{ [1, 2 }}
{# open
{{ x | nofilter }}
{{ x is notest }}
{% set true = 1 %}
{{ (x for x in y) }}
{% if 0 %}{{ x | nofilter }}{% endif %}ok
{{ 9223372036854775807 }} {{ tools | tojson }} {{ tools[0].function.parameters.properties | items | list }}
{%- for m in messages %}{{- m.role + ': ' }}{%- if m.content %}{{ m.content | trim }}{% endif %}{%- endfor %}
""".strip("\n")

BLOCKS = [
    "line\n  {% if true %}  \n  x\n  {% endif %}\n  end\n",
    "{% for i in [1, 2] %}\n    item {{ i }}\n{% endfor %}\n\n",
    "a\r\nb\r{% if true %}\r\n  c{% endif %}\n\n",
    "  {# comment #}\n  text {# more #}\n{{ 'x' }}\n\ny",
    "{% set x = 1 -%}\n\n  a\n  {%- if x %} b {% endif -%}\n c",
    "{{ 1 }}  {% if true %}a{% endif %}\n  {%+ if true %}b{% endif %}\n",
    "\t{% if true +%}\nx{% endif %}",
]


def main():
    from transformers.utils import chat_template_utils as utils

    variables = {"messages": TALK, "tools": TOOLS, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
                 "documents": None, "d": {"a": 1, "n": {"m": "deep"}, "l": [1, None]}, "l": [1, 2, 3]}
    # A backslash before a line end continues the case.
    features = FEATURES.replace("\\\n", "\0").split("\n")
    features = [f.replace("\0", "\\\n") for f in features]
    conversations = [TALK, TALK[1:], TALK[1:2], TALK[1:3], []]
    cases = [(t, dict(variables)) for t in features + BLOCKS]
    for template in MODELS.values():
        for talk in conversations:
            for prompt in (True, False):
                cases.append((template, dict(variables, messages=talk, add_generation_prompt=prompt)))
    golden = []
    for template, values in cases:
        case = {"template": template, "variables": {k: v for k, v in values.items() if variables[k] != v}}
        try:
            compiled = utils._compile_jinja_template(template)
            compiled.globals["strftime_now"] = lambda form: NOW.strftime(form)
            case["expected"] = compiled.render(**values)
        except Exception as error:  # jinja2 raises many kinds
            print(f"refused: {template[:60]!r}: {type(error).__name__}: {error}", file=sys.stderr)
        golden.append(case)
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "../../tests/data/text/chat_templates.json")
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "w") as file:
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden)
        file.write('{"variables": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(variables, ensure_ascii=False), lines))


if __name__ == "__main__":
    main()
