#!/usr/bin/env python3
"""Files made with `--rounding gptq`, calibrated on the built-in mix, beside llama-quantize's of the same type and size with
an importance matrix of wiki.valid.txt: mean KL divergence by stock llama-perplexity on wiki.test.raw and on texts of other
domains.

Prints a Markdown table (docs/rounding.md). Asserts that each file of ours is no larger, and that its divergence is at most
0.85 of llama-quantize's on every text. LOWBIT_ROUNDING_TYPES (Q4_K_M Q3_K_M Q2_K) narrows the types, LOWBIT_CHUNKS (10) the
text, LOWBIT_ROUNDING_OPTIONS gives more options to lowbit, LOWBIT_ROUNDING_SIZE=1 lets it choose each tensor's type within
llama-quantize's size. LOWBIT_ROUNDING_TEXTS names more texts to evaluate on; Python's argparse is always one.
"""
import argparse
import os
import pathlib
import re
import shutil
import tempfile

import peers

TYPES = os.environ.get("LOWBIT_ROUNDING_TYPES", "Q4_K_M Q3_K_M Q2_K").split()
CHUNKS = os.environ.get("LOWBIT_CHUNKS", "10")
OPTIONS = os.environ.get("LOWBIT_ROUNDING_OPTIONS", "--transform awq").split()
ALLOCATE = os.environ.get("LOWBIT_ROUNDING_SIZE") == "1"
TEXTS = os.environ.get("LOWBIT_ROUNDING_TEXTS", "").split()


def divergence(llama, model, base):
    text = peers.run(llama / "bin/llama-perplexity", "-m", model, "--kl-divergence", "--kl-divergence-base", base)
    return float(re.search(r"Mean    KLD:\s*([-\d.e]+)", text)[1])


def ours(f16, out, kind, size):
    wanted = ["--target-size", f"{size}B"] if ALLOCATE else [kind]
    peers.lowbit_json("quantize", f16, out, *wanted, "--rounding", "gptq", *OPTIONS)


def main():
    llama = peers.llama_cpp("llama-quantize", "llama-perplexity", "llama-imatrix")
    data, models = peers.data(), peers.models()
    texts = {"wiki.test.raw": data / "wiki.test.raw", "argparse.py": pathlib.Path(argparse.__file__)}
    texts |= {pathlib.Path(t).name: pathlib.Path(t) for t in TEXTS}
    checks = peers.Checks()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        f16, stats = folder / "f16.gguf", folder / "stats.gguf"
        peers.lowbit_json("convert", models / "smollm2-135m-768", f16, "--type", "F16")
        peers.run(llama / "bin/llama-imatrix", "-m", f16, "-f", data / "wiki.valid.txt", "-o", stats, "--chunks", "60")
        bases = {}
        for name, text in texts.items():
            bases[name] = folder / (name + ".kld")
            peers.run(llama / "bin/llama-perplexity", "-m", f16, "-f", text, "--chunks", CHUNKS, "--kl-divergence-base",
                      bases[name])
        print("| type | text | llama-quantize | lowbit | ratio |\n|---|---|---|---|---|", flush=True)
        for kind in TYPES:
            their_file, our_file = folder / "theirs.gguf", folder / "ours.gguf"
            peers.run(llama / "bin/llama-quantize", "--imatrix", stats, f16, their_file, kind)
            size = their_file.stat().st_size
            ours(f16, our_file, kind, size)
            if keep := os.environ.get("LOWBIT_ROUNDING_KEEP"):
                shutil.copy(our_file, f"{keep}/{kind}.gguf")
            checks.true(f"{kind}: size is {our_file.stat().st_size / size:.4f} of llama-quantize's",
                        our_file.stat().st_size <= 1.005 * size)
            for name, base in bases.items():
                a, b = divergence(llama, our_file, base), divergence(llama, their_file, base)
                print(f"| {kind} | {name} | {b:.4f} | {a:.4f} | {a / b:.3f} |", flush=True)
                checks.true(f"{kind} on {name}: {a / b:.3f}", a <= 0.85 * b)
    checks.finish()


main()
