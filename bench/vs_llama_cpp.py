#!/usr/bin/env python3
"""lowbit beside stock llama.cpp, interleaved in one run: quantization time and peak memory per type, prompt and
generation speed per type. Prints Markdown tables of ratios (docs/performance.md holds the last ones).

    bench/vs_llama_cpp.py --lowbit build/release/lowbit --llama ~/.cache/lowbit-peers/llama.cpp --model HF_DIR
                          [--types Q4_K_M,Q8_0] [--rounds 5] [--threads 2] [--what quantize,speed]

Ratios are medians over the rounds, with their least and greatest in brackets; above 1 lowbit is faster, or smaller.
Both programs quantize the same F16 GGUF file, which is in the page cache, and run the same quantized file.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

TYPES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_1", "Q4_K_S", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_S", "Q5_K_M",
         "Q6_K", "Q8_0", "IQ4_NL", "IQ4_XS"]


def measure(command):
    """Seconds and peak resident bytes of a whole process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{message.decode(errors='replace')[-2000:]}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def bench_quantize(a, f16, folder):
    parameters = json.loads(subprocess.check_output([a.lowbit, "inspect", f16, "--json"]))["parameters"]
    print("\n| type | lowbit, million weights/s | time: llama-quantize / lowbit | memory: llama-quantize / lowbit |")
    print("|---|---|---|---|")
    for kind in a.types:
        ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
        rows = []
        for _ in range(a.rounds):
            x = measure([a.lowbit, "quantize", f16, ours, kind, "-t", str(a.threads)])
            y = measure([a.llama / "bin/llama-quantize", f16, theirs, kind, str(a.threads)])
            rows.append((x, y))
        speed = parameters / 1e6 / statistics.median(x[0] for x, _ in rows)
        print(f"| {kind} | {speed:.0f} | {spread([y[0] / x[0] for x, y in rows])} "
              f"| {spread([y[1] / x[1] for x, y in rows])} |", flush=True)


def lowbit_speed(a, model):
    out = subprocess.check_output([a.lowbit, "bench", model, "-t", str(a.threads), "-r", "1", "--json"])
    return {r["test"]: r["tokens_per_second"] for r in json.loads(out)["results"]}


def llama_speed(a, model):
    out = subprocess.check_output([a.llama / "bin/llama-bench", "-m", model, "-t", str(a.threads), "-r", "1", "-o", "json",
                                   "-p", "512", "-n", "128"], stderr=subprocess.DEVNULL)
    return {("pp512" if r["n_prompt"] else "tg128"): r["avg_ts"] for r in json.loads(out)}


def bench_speed(a, f16, folder):
    print("\n| type | lowbit pp512, tokens/s | pp512: lowbit / llama.cpp | lowbit tg128, tokens/s | tg128: lowbit / llama.cpp |")
    print("|---|---|---|---|---|")
    for kind in ["F16"] + a.types:
        model = f16
        if kind != "F16":
            model = folder / "run.gguf"
            subprocess.run([a.lowbit, "quantize", f16, model, kind, "--log-level", "error"], check=True,
                           stdout=subprocess.DEVNULL)
        rows = [(lowbit_speed(a, model), llama_speed(a, model)) for _ in range(a.rounds)]
        cells = []
        for test in ("pp512", "tg128"):
            cells.append(f"{statistics.median(x[test] for x, _ in rows):.0f}")
            cells.append(spread([x[test] / y[test] for x, y in rows]))
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lowbit", type=pathlib.Path, required=True)
    p.add_argument("--llama", type=pathlib.Path, required=True, help="a folder with bin/llama-quantize and bin/llama-bench")
    p.add_argument("--model", type=pathlib.Path, required=True, help="a Hugging Face directory")
    p.add_argument("--types", type=lambda s: s.split(","), default=TYPES)
    p.add_argument("--what", type=lambda s: s.split(","), default=["quantize", "speed"])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        f16 = folder / "f16.gguf"
        subprocess.run([a.lowbit, "convert", a.model, f16, "--log-level", "error"], check=True, stdout=subprocess.DEVNULL)
        if "quantize" in a.what:
            bench_quantize(a, f16, folder)
        if "speed" in a.what:
            bench_speed(a, f16, folder)


if __name__ == "__main__":
    main()
