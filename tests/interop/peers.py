"""Where the real peers are, and how to skip a test whose peer is absent."""
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys

LOWBIT = os.environ["LOWBIT_BIN"]


def folder(variable, what, *needs):
    """The folder that an environment variable names, if it holds all that is needed; otherwise the test is skipped."""
    value = os.environ.get(variable)
    if not value:
        skip(f"{variable} is not set ({what})")
    path = pathlib.Path(value)
    for need in needs:
        if not (path / need).exists():
            skip(f"{variable}={value} has no {need} ({what})")
    return path


def llama_cpp(*programs):
    return folder("LOWBIT_PEERS_LLAMA", "stock llama.cpp: bin/ and src/", *[f"bin/{p}" for p in programs])


def python():
    value = os.environ.get("LOWBIT_PEERS_PYTHON")
    if not value or not pathlib.Path(value).exists():
        skip("LOWBIT_PEERS_PYTHON is not set (a Python with gguf, safetensors, tokenizers, transformers, torch)")
    return value


def models():
    return folder("LOWBIT_MODELS", "Hugging Face directories", "smollm2-135m", "smollm2-135m-768")


def data():
    return folder("LOWBIT_DATA", "WikiText-2", "wiki.test.raw", "wiki.valid.txt")


def source():
    """The repository."""
    return pathlib.Path(os.environ["LOWBIT_SOURCE"])


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def run(*command):
    """Standard output and error of a command that must succeed."""
    done = subprocess.run([str(c) for c in command], capture_output=True)
    text = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{text[-3000:]}")
    return text


def lowbit_json(*arguments):
    done = subprocess.run([LOWBIT, *map(str, arguments), "--json"], capture_output=True)
    if done.returncode:
        sys.exit(f"lowbit {' '.join(map(str, arguments))}: {done.stderr.decode(errors='replace')[-3000:]}")
    return json.loads(done.stdout)


def python_json(code, *arguments):
    """Runs code with the peers' packages; the object that it prints."""
    done = subprocess.run([python(), "-c", code, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def chunk_nll(text):
    """Mean -log p of each chunk, from the perplexities up to each that llama-perplexity prints, with --kl-divergence or not."""
    found = re.findall(r"^ *\d+ +([\d.]+) ± |\[\d+\]([\d.]+),", text, re.MULTILINE)
    perplexities = [float(table or row) for table, row in found]
    totals = [0.0] + [(i + 1) * math.log(p) for i, p in enumerate(perplexities)]
    return [after - before for before, after in zip(totals, totals[1:])]


def paired(ours, theirs):
    """Mean difference and its standard error."""
    assert len(ours) == len(theirs) > 1, (len(ours), len(theirs))
    differences = [a - b for a, b in zip(ours, theirs)]
    return statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))


AGREEMENT = 0.002  # of perplexities
LARGEST_ERROR = 0.01  # a standard error beyond which nothing can be told


def agree(difference, error):
    """Whether two perplexities may be within 0.2 %, given what paired() says. Rounded activations make correct programs differ
    by chance (docs/quality.md): they do not if 0.2 % is ruled out by two standard errors, or if nothing can be told."""
    return abs(difference) <= AGREEMENT + 2 * error and error <= LARGEST_ERROR


class Checks:
    """Prints every comparison and fails at the end, so that one run shows all."""

    def __init__(self):
        self.failed = 0

    def near(self, what, ours, theirs, relative=0.0, absolute=0.0):
        good = abs(ours - theirs) <= absolute + relative * abs(theirs)
        difference = f", {100 * (ours / theirs - 1):+.3f} %" if theirs else ""
        self.true(f"{what}: ours {ours:.6g}, theirs {theirs:.6g}{difference}", good)

    def true(self, what, good):
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)

    def finish(self):
        sys.exit(1 if self.failed else 0)
