#!/usr/bin/env python3
"""The forward pass against transformers in binary32, on real models: perplexity as Hugging Face computes it, and greedy
text."""
import math

import peers

PROMPT = "The capital of France is"
TOKENS = 40

THEIRS = """
import json, sys, torch, transformers
model_path, text_path, chunks, prompt, count = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(model_path)
model = transformers.AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
text = open(text_path, encoding="utf-8", newline="").read()
if text.endswith("\\n"):
    text = text[:-1]
ids = tokenizer(text, return_tensors="pt", verbose=False).input_ids[0]
losses = []
with torch.no_grad():
    for i in range(int(chunks)):
        chunk = ids[None, i * 512:(i + 1) * 512]
        losses.append(model(chunk, labels=chunk).loss.item())
    start = tokenizer(prompt, return_tensors="pt").input_ids[0].tolist()
    tokens, gaps = list(start), []
    for _ in range(int(count)):
        logits = model(torch.tensor([tokens])).logits[0, -1]
        top = torch.topk(logits, 2)
        tokens.append(top.indices[0].item())
        gaps.append((top.values[0] - top.values[1]).item())
print(json.dumps({"nll": sum(losses) / len(losses), "tokens": tokens[len(start):], "gaps": gaps}))
"""


def main():
    models, text = peers.models(), peers.data() / "wiki.test.raw"
    checks = peers.Checks()
    for name in ("smollm2-135m-768", "smollm2-135m"):
        theirs = peers.python_json(THEIRS, models / name, text, 4, PROMPT, TOKENS)
        ours = peers.lowbit_json("eval", models / name, "--text", text, "--chunks", 4, "--hf")
        checks.near(f"{name} perplexity (--hf)", ours["perplexity"], math.exp(theirs["nll"]), relative=1e-4)
        answer = peers.lowbit_json("run", models / name, "-p", PROMPT, "-n", TOKENS, "--temp", 0, "--ignore-eos",
                                   "--activations", "fine")
        pairs = list(zip(answer["tokens"], theirs["tokens"]))
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        # After a near tie the texts may part.
        tie = same < len(pairs) and theirs["gaps"][same] < 0.01
        checks.true(f"{name} greedy text: the first {same} of {TOKENS} tokens are the same"
                    + (" (then a near tie)" if tie else ""), same == TOKENS or tie)
    checks.finish()


main()
