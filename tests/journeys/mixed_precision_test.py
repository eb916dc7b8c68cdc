#!/usr/bin/env python3
"""Types chosen for each tensor: targets are kept, recipes reproduce files, errors tell what is possible."""
import json
import pathlib
import re
import signal
import subprocess
import time

from tiny import LOWBIT, lowbit, lowbit_json, make_model, refused, scratch


def targets(model, folder):
    known = ["--sensitivity", folder / "sensitivity.json"]
    sizes = {}
    plain = lowbit_json("quantize", model, folder / "q4.gguf", "Q4_K_M")
    for name, limit in [("small", plain["bytes"] * 3 // 4), ("same", plain["bytes"]), ("large", plain["bytes"] * 5 // 4)]:
        out, recipe = folder / f"{name}.gguf", folder / f"{name}.txt"
        done = lowbit_json("quantize", model, out, "--target-size", limit, "--recipe-out", recipe, *known)
        assert done["bytes"] == out.stat().st_size and 0.97 * limit < done["bytes"] <= limit, (name, done, limit)
        sizes[name] = done["predicted_kld"]
        # The recipe alone makes the same bytes; so do other numbers of threads, and measuring anew.
        again = folder / "again.gguf"
        lowbit("quantize", model, again, "--recipe", recipe)
        assert again.read_bytes() == out.read_bytes(), name
        assert lowbit_json("inspect", out)["metadata"]["quantize.lowbit.recipe"] == recipe.read_text()
    assert sizes["small"] > sizes["same"] > sizes["large"], sizes
    for threads in (1, 3):
        lowbit("quantize", model, folder / "again.gguf", "--target-size", plain["bytes"], "-t", threads)
        assert (folder / "again.gguf").read_bytes() == (folder / "same.gguf").read_bytes(), threads
    done = lowbit_json("quantize", model, folder / "bpw.gguf", "--target-bpw", 4.6, *known)
    assert 4.5 < done["bits_per_weight"] <= 4.6, done
    plan = lowbit_json("quantize", model, folder / "no.gguf", "--target-bpw", 4.6, "--plan", *known)
    assert plan["bits_per_weight"] == done["bits_per_weight"] and not (folder / "no.gguf").exists()
    lowbit("run", folder / "bpw.gguf", "-p", "Hello", "-n", 3)
    # What the user fixes stays as it is.
    fixed = folder / "fixed.txt"
    lowbit("quantize", model, folder / "fixed.gguf", "--target-bpw", 6, "--tensor-type", "ffn_down=Q8_0", "--types",
           "Q4_K,Q6_K", "--recipe-out", fixed)
    types = dict(line.split("=") for line in fixed.read_text().split())
    assert {t for n, t in types.items() if "ffn_down" in n} == {"Q8_0"}, types
    assert {t for n, t in types.items() if "ffn_down" not in n} <= {"Q4_K", "Q6_K"}, types


def with_gptq(model, folder):
    options = ["--rounding", "gptq", "--samples", 16, "--length", 128]
    done = lowbit_json("quantize", model, folder / "g.gguf", "--target-bpw", 4, "--recipe-out", folder / "g.txt", *options)
    assert 3.8 < done["bits_per_weight"] <= 4
    lowbit("quantize", model, folder / "g2.gguf", "--recipe", folder / "g.txt", *options)
    assert (folder / "g.gguf").read_bytes() == (folder / "g2.gguf").read_bytes()


def greatest_divergence(model, folder):
    known = ["--sensitivity", folder / "sensitivity.json"]
    before = None
    for limit in (0.3, 0.03):
        out = folder / "kld.gguf"
        done = lowbit_json("quantize", model, out, "--max-kld", limit, *known)
        assert done["bytes"] == out.stat().st_size
        assert 0.5 * limit < done["measured_kld"] <= limit, (limit, done)
        assert before is None or done["bytes"] > before, (before, done)
        before = done["bytes"]
    assert not list(folder.glob("*.trial.gguf"))
    refused("quantize", model, folder / "no.gguf", "--max-kld", 1e-6, "--types", "Q2_K,Q3_K", says="was not reached")
    assert not (folder / "no.gguf").exists()


def an_interrupt_leaves_nothing(model, folder):
    """While an attempt of --max-kld is being measured."""
    place = folder / "interrupted"
    place.mkdir()
    job = ["quantize", model, place / "out.gguf", "--max-kld", 0.001, "--sensitivity", folder / "sensitivity.json"]
    for how in (signal.SIGINT, signal.SIGTERM):
        started = subprocess.Popen([LOWBIT, *map(str, job)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while started.poll() is None and not (place / "out.gguf.trial.gguf").exists():
            time.sleep(0.0005)
        started.send_signal(how)
        assert started.wait(60) == -how
        assert not list(place.iterdir()), list(place.iterdir())


def memory_is_told(folder):
    """Where hidden states outweigh the program itself; a budget below is refused before the work."""
    model = make_model(folder / "wide", ffn=256, layers=6)
    job = ["quantize", model, folder / "wide.gguf", "--target-bpw", 5]
    done, err = lowbit(*job, "--json")
    told = float(re.search(r"matters; about ([\d.]+) MiB of memory", err).group(1)) * 2**20
    taken = json.loads(done)["peak_memory_bytes"]
    assert 0.6 * told < taken < 1.15 * told, (told, taken)
    lowbit(*job, "--max-ram", int(1.1 * told))
    refused(*job, "--max-ram", int(0.5 * told), says=["--max-ram", "needs at least"])


def narrow_rows(folder):
    """Rows that no k-quant holds."""
    model = make_model(folder / "narrow", hidden=96, ffn=160)
    done = lowbit_json("quantize", model, folder / "narrow.gguf", "--target-bpw", 5.2, "--recipe-out", folder / "n.txt")
    assert done["fallbacks"] == [] and 5 < done["bits_per_weight"] <= 5.2, done
    assert not {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"} & set((folder / "n.txt").read_text().replace("=", "\n").split())


def refusals(model, folder):
    out = folder / "no.gguf"
    refused("quantize", model, out, "--target-size", "10KiB", says=["too small", "MiB"])
    refused("quantize", model, out, "--target-size", "many", says=["--target-size many", "95MiB"])
    refused("quantize", model, out, "--target-bpw", 1, says=["too few", "2."])
    refused("quantize", model, out, "--target-bpw", 4, "--types", "Q4_K,Q9", says="Q9 is no type")
    refused("quantize", model, out, "--recipe", model / "config.json", says="TENSOR=TYPE")
    (folder / "part.txt").write_text("blk.0.attn_q.weight=Q8_0\n")
    refused("quantize", model, out, "--recipe", folder / "part.txt", says="has no line for")
    lowbit("quantize", model, folder / "part.gguf", "Q4_K_M", "--recipe", folder / "part.txt")
    types = {t["name"]: t["encoding"] for t in lowbit_json("inspect", folder / "part.gguf")["tensors"]}
    assert types["blk.0.attn_q.weight"] == "Q8_0" and types["blk.1.attn_q.weight"] == "Q4_K"
    other = make_model(folder / "other", layers=2)
    refused("quantize", other, out, "--target-bpw", 4, "--sensitivity", folder / "sensitivity.json", says="another model")
    refused("quantize", other, out, "--recipe", folder / "same.txt", says="the recipe is another model's")
    for wrong in (["Q4_K_M", "--target-bpw", 4], [], ["--target-bpw", 4, "--max-kld", 0.1],
                  ["--recipe", folder / "part.txt", "--target-bpw", 4]):
        lowbit("quantize", model, out, *wrong, code=2)
    assert not out.exists()


def main():
    with scratch() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model")
        targets(model, folder)
        with_gptq(model, folder)
        greatest_divergence(model, folder)
        an_interrupt_leaves_nothing(model, folder)
        memory_is_told(folder)
        narrow_rows(folder)
        refusals(model, folder)
    print("targets, recipes and refusals hold")


main()
