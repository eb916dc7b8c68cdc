#!/usr/bin/env python3
"""lowbit beside stock llama.cpp, interleaved in one run, on the same files and as many threads: quantization time and peak
memory; speed of prompts, of generation at several depths, of several sequences side by side. Prints Markdown tables of
ratios (docs/performance.md holds the last ones) and draws tokens a second against depth and sequences.

    bench/vs_llama_cpp.py --lowbit build/release/lowbit --llama ~/.cache/lowbit-peers/llama.cpp
                          (--model HF_DIR [--types Q4_K_M,Q8_0] [--what quantize,speed] | --files A.gguf B.gguf ...)
                          [--rounds 5] [--threads 2] [--prompt 512] [--generate 128] [--depths 0,4096] [--batches 8,32]
                          [--plot speed.svg]

Ratios are medians over the rounds, with their least and greatest in brackets; above 1 lowbit is faster, or smaller.
Both programs quantize the same F16 GGUF file, which is in the page cache, and run the same quantized file. Sequences side by
side need llama-batched-bench (`ninja llama-batched-bench` in llama.cpp's build folder). --files: speed of these alone.
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

import plot_svg

TYPES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_1", "Q4_K_S", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_S", "Q5_K_M",
         "Q6_K", "Q8_0", "IQ4_NL", "IQ4_XS"]
BATCH_DEPTH = 32  # tokens that each of several sequences has behind it


def measure(command):
    """Seconds and peak resident bytes of a whole process, which does not pay for what others left to be flushed."""
    os.sync()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{message.decode(errors='replace')[-2000:]}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def output_of(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def bench_quantize(a, f16, folder):
    parameters = json.loads(output_of([a.lowbit, "inspect", f16, "--json"]))["parameters"]
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


def lowbit_speeds(a, model, arguments):
    """{test: (tokens a second, fraction of the limit)}"""
    out = output_of([a.lowbit, "bench", model, "-t", a.threads, "-r", 1, "-o", "json", "--log-level", "error", *arguments])
    return {r["test"]: (r["tokens_per_second"], r["fraction_of_limit"]) for r in json.loads(out)["results"]}


def llama_speeds(a, model, arguments):
    out = output_of([a.llama / "bin/llama-bench", "-m", model, "-t", a.threads, "-r", 1, "-o", "json", *arguments])
    name = lambda r: f"pp{r['n_prompt']}" if r["n_prompt"] else f"tg{r['n_gen']}"
    return {name(r) + (f" @ d{r['n_depth']}" if r["n_depth"] else ""): r["avg_ts"] for r in json.loads(out)}


def llama_batches(a, model):
    out = output_of([a.llama / "bin/llama-batched-bench", "-m", model, "-t", a.threads, "-npp", BATCH_DEPTH, "-ntg", a.generate,
                     "-npl", ",".join(map(str, a.batches)), "-c", max(a.batches) * (BATCH_DEPTH + a.generate),
                     "--output-format", "jsonl"])
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {batch_test(a, r["pl"]): r["speed_tg"] for r in rows}


def batch_test(a, sequences):
    return f"tg{a.generate}" + (f" x{sequences}" if sequences > 1 else "") + f" @ d{BATCH_DEPTH}"


def one_round(a, model):
    """{test: (lowbit's tokens a second, its fraction of the limit, llama.cpp's tokens a second)}; what is compared runs in turn."""
    plans = [(["-p", a.prompt, "-n", 0],) * 2]
    plans += [(["-p", 0, "-n", a.generate, "-d", d],) * 2 for d in a.depths]
    if a.batches:
        plans.append((["-p", 0, "-n", a.generate, "-d", BATCH_DEPTH, "--npl", ",".join(map(str, a.batches))], None))
    rows = {}
    for ours, theirs in plans:
        x = lowbit_speeds(a, model, ours)
        y = llama_speeds(a, model, theirs) if theirs else llama_batches(a, model)
        rows |= {test: (*x[test], y[test]) for test in x}
    return rows


def bench_speed(a, models):
    """Prints a table a model; returns {name: {test: (lowbit, llama.cpp) median tokens a second}}."""
    medians = {}
    for name, model in models:
        rounds = [one_round(a, model) for _ in range(a.rounds)]
        print(f"\n| {name} | lowbit, tokens/s | of the limit | llama.cpp, tokens/s | lowbit / llama.cpp |\n|---|---|---|---|---|")
        medians[name] = {}
        for test in rounds[0]:
            rows = [r[test] for r in rounds]
            ours, limit, theirs = (statistics.median(column) for column in zip(*rows))
            print(f"| {test} | {ours:.1f} | {100 * limit:.0f} % | {theirs:.1f} | {spread([x / y for x, _, y in rows])} |", flush=True)
            medians[name][test] = ours, theirs
    return medians


def quantized(a, f16, folder):
    """Each type's file, made when its turn comes."""
    yield "F16", f16
    for kind in a.types:
        output_of([a.lowbit, "quantize", f16, folder / "run.gguf", kind, "--log-level", "error"])
        yield kind, folder / "run.gguf"


def plot(a, medians):
    depth_test = lambda d: f"tg{a.generate}" + (f" @ d{d}" if d else "")
    panels = []
    for title, label, points in (("Generation, one sequence", "tokens in the context", [(d, depth_test(d)) for d in a.depths]),
                                 ("Generation, sequences side by side", "sequences", [(b, batch_test(a, b)) for b in a.batches])):
        lines = {}
        for name, tests in medians.items():
            for i, program in enumerate(("lowbit", "llama.cpp")):
                lines[f"{name}, {program}"] = [(x, tests[test][i]) for x, test in points]
        if points:
            panels.append((title, label, "tokens/s", lines))
    plot_svg.write(a.plot, panels)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda s: [int(x) for x in s.split(",") if x]
    p.add_argument("--lowbit", type=pathlib.Path, required=True)
    p.add_argument("--llama", type=pathlib.Path, required=True, help="a folder with bin/llama-quantize and bin/llama-bench")
    p.add_argument("--model", type=pathlib.Path, help="a Hugging Face directory, quantized to --types")
    p.add_argument("--files", type=pathlib.Path, nargs="+", help="GGUF files, instead of --model")
    p.add_argument("--types", type=lambda s: s.split(","), default=TYPES)
    p.add_argument("--what", type=lambda s: s.split(","), default=["quantize", "speed"])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--generate", type=int, default=128)
    p.add_argument("--depths", type=numbers, default=[0])
    p.add_argument("--batches", type=numbers, default=[])
    p.add_argument("--plot", type=pathlib.Path)
    a = p.parse_args()
    if (a.model is None) == (a.files is None):
        p.error("give either --model or --files")
    if a.files:
        medians = bench_speed(a, [(f.stem, f) for f in a.files])
    else:
        medians = {}
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            f16 = folder / "f16.gguf"
            output_of([a.lowbit, "convert", a.model, f16, "--log-level", "error"])
            if "quantize" in a.what:
                bench_quantize(a, f16, folder)
            if "speed" in a.what:
                medians = bench_speed(a, quantized(a, f16, folder))
    if a.plot and medians:
        plot(a, medians)


if __name__ == "__main__":
    main()
