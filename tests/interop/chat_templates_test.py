#!/usr/bin/env python3
"""Chat templates of real models (llama.cpp's models/templates/, and those of our models) against transformers: equal
text, and refused where transformers refuses. The cases are rendered by test_text (ChatTemplate.EqualsJinjaOnCasesFile)."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import peers

RENDER = r"""
import datetime, itertools, json, os, sys, time
os.environ["TZ"] = "UTC"
time.tzset()
from transformers.utils import chat_template_utils as utils
NOW = datetime.datetime.fromtimestamp(1700000000)  # what the test takes for now
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": 'Weather of a "place"', "parameters": {
    "type": "object", "properties": {
        "place": {"type": "string", "description": "where?", "enum": ["a", "b"]}, "n": {"type": "integer"},
        "xs": {"type": "array", "items": {"type": "number"}}, "o": {"type": ["string", "null"]},
        "u": {"type": "object", "properties": {"k": {"type": "boolean"}}}}, "required": ["place"]},
    "return": {"type": "string", "description": "r"}}}]
CALL = {"place": "Köln", "n": 3, "f": 1.5, "ok": True, "no": None, "l": [1, 2, "x"]}
def call(arguments):
    return [{"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]
TALKS = [
    [{"role": "user", "content": "Hello, how are you?"}],
    [{"role": "system", "content": 'You are a "helpful" bot.\n'}, {"role": "user", "content": "  Hi 你好 🙂 <b>\n"},
     {"role": "assistant", "content": " Hello.\n\n"}, {"role": "user", "content": "x\\n{{ y }}"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"},
     {"role": "user", "content": "c"}, {"role": "assistant", "reasoning_content": "why", "content": "d"}],
    [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "", "tool_calls": call(CALL)},
     {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": '{"t": 20}'},
     {"role": "assistant", "content": "20 degrees"}, {"role": "user", "content": "thanks"}],
    [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": call('{"place": "Rome"}')},
     {"role": "tool", "tool_call_id": "abcdefghi", "content": "sunny"}],
    [{"role": "system", "content": [{"type": "text", "text": "sys"}]}, {"role": "user", "content": [
        {"type": "text", "text": "part one"}, {"type": "text", "text": " two"}, {"type": "image"}]}],
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    [{"role": "weird", "content": "q"}],
    [{"role": "user", "content": "q"}, {"role": "user", "content": "r"}],
    [{"role": "developer", "content": "rules"}, {"role": "user", "content": "q"}],
    [],
]
SETTINGS = [{}, {"enable_thinking": False}, {"enable_thinking": True, "reasoning_effort": "high"}]
cases = []
for path in sys.argv[2:]:
    template = open(path, encoding="utf-8").read()
    if path.endswith(".json"):
        template = json.loads(template).get("chat_template") or ""
    compiled = utils._compile_jinja_template(template)
    compiled.globals["strftime_now"] = lambda form: NOW.strftime(form)
    for talk, prompt, tools, settings in itertools.product(TALKS, (True, False), (None, TOOLS), SETTINGS):
        case = {"template": template, "variables": {"messages": talk, "add_generation_prompt": prompt, "tools": tools, **settings}}
        try:
            case["expected"] = compiled.render(documents=None, bos_token="<s>", eos_token="</s>", **case["variables"])
        except Exception:
            pass
        cases.append(case)
json.dump({"variables": {"bos_token": "<s>", "eos_token": "</s>"}, "cases": cases}, open(sys.argv[1], "w"))
print(json.dumps({"templates": len(sys.argv) - 2, "cases": len(cases), "refused": sum("expected" not in c for c in cases)}))
"""


def main():
    templates = sorted((peers.llama_cpp() / "src/models/templates").glob("*.jinja"))
    if not templates:
        peers.skip("llama.cpp's src/models/templates holds no templates")
    templates += [m / "tokenizer_config.json" for m in peers.models().glob("smollm2-135m*")]
    program = pathlib.Path(peers.LOWBIT).parent / "tests/test_text"
    if not program.exists():
        peers.skip(f"{program} is not built")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "cases.json"
        made = peers.python_json(RENDER, path, *templates)
        print(made)
        done = subprocess.run([program, "--gtest_filter=ChatTemplate.EqualsJinjaOnCasesFile"],
                              env=dict(os.environ, LOWBIT_CHAT_CASES=str(path)), capture_output=True, text=True)
    print(done.stdout[-3000:])
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
