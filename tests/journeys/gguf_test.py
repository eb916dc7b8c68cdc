"""Convert, quantize to every type, evaluate, run, calibrate: the commands of the README on a small model."""
import csv
import io
import json
import math
import pathlib
import re

from tiny import TEXT, lowbit, lowbit_json, make_model, refused, scratch

# Bits per weight that a type's name promises (its mixture's range), all matrices counted.
TYPES = {"F32": (32, 32), "F16": (16, 16.1), "BF16": (16, 16.1), "Q8_0": (8.5, 8.6), "Q6_K": (6.5, 6.7), "Q5_K_M": (5.5, 6.2),
         "Q5_K_S": (5.5, 5.9), "Q5_1": (6, 6.3), "Q5_0": (5.5, 5.9), "Q4_K_M": (4.5, 5.5), "Q4_K_S": (4.5, 5.2),
         "IQ4_NL": (4.5, 5), "Q4_1": (5, 5.4), "Q4_0": (4.5, 5), "IQ4_XS": (4.25, 4.8), "Q3_K_L": (3.4, 4.9),
         "Q3_K_M": (3.4, 4.7), "Q3_K_S": (3.4, 4), "Q2_K": (2.6, 3.8)}


def quantize_every_type(model, folder):
    divergence = {}
    for kind, (least, most) in TYPES.items():
        out = folder / f"{kind}.gguf"
        done = lowbit_json("quantize", model, out, kind)
        assert least <= done["bits_per_weight"] <= most, (kind, done)
        assert done["fallbacks"] == [] and done["bytes"] == out.stat().st_size, (kind, done)
        seen = lowbit_json("inspect", out)
        assert abs(seen["bits_per_weight"] - done["bits_per_weight"]) < 1e-9 and seen["architecture"] == "llama"
        result = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 128)
        assert math.isfinite(result["perplexity"]) and result["tokens"] == 2 * 63, result
        divergence[kind] = result["mean_kld"]
    assert divergence["F32"] < 1e-6, divergence
    for better, worse in [("F16", "Q8_0"), ("Q8_0", "Q5_K_M"), ("Q6_K", "Q4_K_M"), ("Q5_K_S", "Q4_K_S"), ("Q5_0", "Q4_0"),
                          ("Q4_K_M", "Q3_K_M"), ("IQ4_XS", "Q3_K_S"), ("Q3_K_M", "Q2_K")]:
        assert divergence[better] < divergence[worse], (better, worse, divergence)
    return divergence


def same_bytes_for_any_threads(model, folder):
    files = [folder / f"threads{n}.gguf" for n in (1, 3)]
    for n, file in zip((1, 3), files):
        lowbit("quantize", model, file, "Q4_K_M", "-t", n)
    assert files[0].read_bytes() == files[1].read_bytes()


def importance(model, folder, plain_divergence):
    stats = folder / "stats.imatrix"
    done = lowbit_json("calibrate", model, "--text", TEXT, "-o", stats, "-c", 128, "--chunks", 40)
    assert done["entries"] == 3 * 7 and done["chunks"] == 40, done
    mixed = folder / "mixed.imatrix"  # without a text: the mix that is built in
    done = lowbit_json("calibrate", model, "-o", mixed, "-c", 128, "--chunks", 20)
    assert done["entries"] == 3 * 7 and done["chunks"] == 20, done
    assert mixed.read_bytes() != stats.read_bytes()
    out = folder / "with.gguf"
    lowbit("quantize", model, out, "Q2_K", "--imatrix", stats)
    assert out.read_bytes() != (folder / "Q2_K.gguf").read_bytes()
    metadata = lowbit_json("inspect", out)["metadata"]
    assert metadata["quantize.imatrix.chunks_count"] == 40, metadata
    refused("quantize", model, folder / "no.gguf", "Q2_K", "--imatrix", folder / "Q2_K.gguf", says="Q2_K.gguf")
    assert not (folder / "no.gguf").exists()


def calibrated_rounding(model, folder, plain_divergence):
    options = ["--rounding", "gptq", "--calib", TEXT, "--samples", 32, "--length", 128]
    report = folder / "report.json"
    files = [folder / f"gptq{n}.gguf" for n in (1, 3)]
    for n, file in zip((1, 3), files):
        lowbit("quantize", model, file, "Q3_K_S", *options, "-t", n, "--report", report)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size - (folder / "Q3_K_S.gguf").stat().st_size < 4096  # metadata
    told = json.loads(report.read_text())
    assert len(told["matrices"]) == 3 * 7 + 1 and not any(m["fell_back"] for m in told["matrices"]), told
    result = lowbit_json("eval", files[0], "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 128)
    assert result["mean_kld"] < 0.7 * plain_divergence["Q3_K_S"], (result, plain_divergence["Q3_K_S"])
    metadata = lowbit_json("inspect", files[0])["metadata"]
    assert json.loads(metadata["quantize.lowbit.provenance"]) == told["provenance"], metadata
    assert told["provenance"]["rounding"] == "gptq" and told["provenance"]["samples"] == 32, told
    short = folder / "short.txt"
    short.write_text("Too little.")
    refused("quantize", model, folder / "no.gguf", "Q3_K_S", "--rounding", "gptq", "--calib", short, says="short.txt")
    assert not (folder / "no.gguf").exists()


def memory_is_told(folder):
    """The estimate holds, and is no gross one, where the layers and their inputs outweigh the program itself."""
    model = make_model(folder / "wide", hidden=512, ffn=1536, layers=2)
    out = folder / "wide.gguf"
    done, err = lowbit("quantize", model, out, "Q4_K_M", "--rounding", "gptq", "--samples", 48, "--length", 256, "--json")
    number, unit = re.search(r"about ([\d.]+) (MiB|GiB) of memory", err).groups()
    told, taken = float(number) * (2**20 if unit == "MiB" else 2**30), json.loads(done)["peak_memory_bytes"]
    assert 0.6 * told < taken < 1.15 * told, (told, taken)


def overrides(model, folder):
    out = folder / "override.gguf"
    lowbit("quantize", model, out, "Q4_K_M", "--tensor-type", r"blk\.0\.ffn_down=Q8_0", "--tensor-type", "attn_q=Q2_K",
           "--output-tensor-type", "F16")
    types = {t["name"]: t["encoding"] for t in lowbit_json("inspect", out)["tensors"]}
    assert types["blk.0.ffn_down.weight"] == "Q8_0" and types["blk.2.attn_q.weight"] == "Q2_K", types
    assert types["output.weight"] == "F16" and types["blk.1.attn_k.weight"] == "Q4_K", types
    lowbit("quantize", model, out, "Q3_K_L", "--pure")
    types = {t["encoding"] for t in lowbit_json("inspect", out)["tensors"]}
    assert types == {"F32", "Q3_K"}, types
    refused("quantize", model, out, "Q4_K_M", "--tensor-type", "no_such=Q8_0", says="no tensor's name matches")
    refused("quantize", model, out, "Q4_K_M", "--tensor-type", "attn=Q9", says=["Q9", "Q4_K"])
    refused("quantize", model, out, "Q4_K_M", "--tensor-type", "att(n=Q8_0", says="regular expression")
    refused("quantize", model, out, "Q9_K", says=["Q9_K", "Q4_K_M"])


def run_and_tokenize(folder):
    file = folder / "Q4_K_M.gguf"
    first = lowbit_json("run", file, "-p", "the cat", "-n", 12, "--seed", 7, "--temp", 1)
    again = lowbit_json("run", file, "-p", "the cat", "-n", 12, "--seed", 7, "--temp", 1, "-t", 1)
    other = lowbit_json("run", file, "-p", "the cat", "-n", 12, "--seed", 8, "--temp", 1)
    assert first["tokens"] == again["tokens"] != other["tokens"] and first["seed"] == 7
    out, _ = lowbit("run", file, "-p", "the cat", "-n", 4, "--temp", 0)
    assert out.startswith("the cat"), out
    chat = lowbit_json("run", file, "--chat", "-p", "hi", "-n", 2, "--temp", 0)
    assert chat["prompt_tokens"] > 6, chat
    ids = lowbit_json("tokenize", file, "-p", "<|im_start|>the")["ids"]
    assert ids == [1, *lowbit_json("tokenize", file, "-p", "the", "--no-special")["ids"]], ids
    refused("run", file, "-n", 4, says="no prompt")
    refused("run", file, "-p", "x", "--temp", "nan", says="temperature")


def packed_weights_are_kept(folder):
    lowbit("quantize", folder / "model", folder / "grouped", "gptq-4bit-128g", "--rounding", "weighted")
    for name in ("Q4_K_M.gguf", "model", "grouped"):
        job = ["run", folder / name, "-p", "the cat", "-n", 8, "--temp", 0]
        cache = folder / f"cache-{name}" / "below"
        plain, (first, told_first), (second, told_second) = lowbit(*job), *(lowbit(*job, "--repack-cache", cache) for _ in "12")
        assert plain[0] == first == second
        kept = list(cache.iterdir())
        assert len(kept) == 1 and kept[0].suffix == ".lowbit-packed", kept
        assert "needs " in told_first and "ready in" in told_first and str(kept[0]) not in told_first, told_first
        assert str(kept[0]) in told_second and "warning" not in told_second, told_second
        same = ["eval", folder / name, "--text", TEXT, "--chunks", 2, "-c", 128]
        assert lowbit_json(*same)["perplexity"] == lowbit_json(*same, "--repack-cache", cache)["perplexity"]
        if (folder / name).is_dir():  # what says how to read the weights counts as well
            (folder / name / "config.json").touch()
            assert "packed before" not in lowbit(*job, "--repack-cache", cache)[1]
            assert "packed before" in lowbit(*job, "--repack-cache", cache)[1]
        # A file that was tampered with, and a folder that cannot be: one warning, and the same answer.
        bytes_ = bytearray(kept[0].read_bytes())
        bytes_[5000] ^= 255
        kept[0].write_bytes(bytes_)
        for where in (cache, TEXT):
            text, err = lowbit(*job, "--repack-cache", where)
            assert text == plain[0] and err.count("warning: --repack-cache: ") == 1 and str(where) in err, err
    done = lowbit_json("bench", folder / "Q4_K_M.gguf", "-p", 8, "-n", 0, "-r", 1, "--repack-cache", folder / "cache")
    assert done["load_seconds"] > 0 and len(list((folder / "cache").iterdir())) == 1, done


def bench(folder):
    file = folder / "Q4_K_M.gguf"
    done = lowbit_json("bench", file, "-p", "8,16", "-n", 3, "-pg", "4,2", "-d", "0,5", "-npl", "1,3", "-t", "1,2", "-r", 2)
    one = [t + x + d for d in ("", " @ d5") for x in ("", " x3") for t in ("pp8", "pp16", "tg3", "pp4+tg2")]
    assert [r["test"] for r in done["results"]] == one * 2, done
    assert [r["threads"] for r in done["results"]] == [1] * len(one) + [2] * len(one), done
    for r in done["results"]:
        assert len(r["seconds"]) == 2 and r["tokens_per_second"] > 0 and r["deviation"] >= 0 and r["fraction_of_limit"] > 0, r
        tokens = r["sequences"] * (r["prompt"] + r["generate"])
        assert abs(r["tokens_per_second"] - sum(tokens / s for s in r["seconds"]) / 2) < 1e-3 * r["tokens_per_second"], r
    assert [limits["threads"] for limits in done["limits"]] == [1, 2], done
    assert all(value > 0 for limits in done["limits"] for value in limits.values()), done
    rows = list(csv.DictReader(io.StringIO(lowbit("bench", file, "-p", 8, "-n", 0, "-r", 1, "-o", "csv")[0])))
    assert [(r["test"], r["model"], r["repetitions"], r["deviation"]) for r in rows] == [("pp8", str(file), "1", "0.000")], rows
    out, _ = lowbit("bench", file, "-p", 0, "-n", 2, "-r", 1)
    assert "| tg2 " in out and "reads" in out, out
    refused("bench", file, "-p", 0, "-n", 0, says="nothing to measure")
    refused("bench", file, "-pg", "5", says="--pg 5")


def fallbacks(folder):
    model = make_model(folder / "narrow", hidden=96, ffn=160)
    done = lowbit_json("quantize", model, folder / "narrow.gguf", "Q4_K_M")
    assert done["fallbacks"] and {f["stored"] for f in done["fallbacks"]} == {"Q5_0", "Q8_0"}, done
    _, err = lowbit("quantize", model, folder / "narrow.gguf", "Q4_K_M")
    assert "no multiple of 256" in err and "Q5_0 (5.50 bits) instead of Q4_K (4.50 bits)" in err, err
    refused("quantize", model, folder / "strict.gguf", "Q4_K_M", "--strict", says=["--strict", "256"])
    assert not (folder / "strict.gguf").exists()


def requantize(folder):
    refused("quantize", folder / "Q4_K_M.gguf", folder / "again.gguf", "Q3_K_M", says="--allow-requantize")
    lowbit("quantize", folder / "Q4_K_M.gguf", folder / "again.gguf", "Q3_K_M", "--allow-requantize")


def tensor_data(file):
    """What follows the header, which tells the name of the source."""
    return file.read_bytes()[-sum(-(-t["bytes"] // 32) * 32 for t in lowbit_json("inspect", file)["tensors"]):]


def from_gguf_or_directory(model, folder):
    """The same original gives the same weights, whichever container it came in."""
    lowbit("convert", model, folder / "f32.gguf")
    lowbit("quantize", folder / "f32.gguf", folder / "via-gguf.gguf", "Q4_K_M")
    assert tensor_data(folder / "via-gguf.gguf") == tensor_data(folder / "Q4_K_M.gguf")
    lowbit("convert", folder / "f32.gguf", folder / "back")
    lowbit("quantize", folder / "back", folder / "via-back.gguf", "Q4_K_M")
    ours = [(t["name"], t["encoding"], t["shape"]) for t in lowbit_json("inspect", folder / "via-back.gguf")["tensors"]]
    assert ours == [(t["name"], t["encoding"], t["shape"]) for t in lowbit_json("inspect", folder / "Q4_K_M.gguf")["tensors"]]
    result = lowbit_json("eval", folder / "via-back.gguf", "--text", TEXT, "--reference", folder / "Q4_K_M.gguf", "--chunks", 2,
                         "-c", 128)
    assert result["mean_kld"] < 1e-9 and result["top1_agreement"] == 1, result


def plan(model, folder):
    planned = lowbit_json("quantize", model, folder / "never.gguf", "Q4_K_M", "--plan")
    done = lowbit_json("inspect", folder / "Q4_K_M.gguf")
    assert planned["bits_per_weight"] == done["bits_per_weight"] and not (folder / "never.gguf").exists()


def usage():
    for arguments in ([], ["quantise"], ["quantize", "x"], ["eval", "x"], ["run", "x", "-n", "many"]):
        lowbit(*arguments, code=2)
    for command in ("convert", "quantize", "calibrate", "run", "eval", "inspect", "verify", "methods", "tokenize", "bench"):
        out, _ = lowbit(command, "--help")
        assert f"lowbit {command} " in out, out
    refused("inspect", "/no/such/model", says="/no/such/model")


def main():
    with scratch() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model")
        divergence = quantize_every_type(model, folder)
        same_bytes_for_any_threads(model, folder)
        importance(model, folder, divergence)
        calibrated_rounding(model, folder, divergence)
        memory_is_told(folder)
        overrides(model, folder)
        run_and_tokenize(folder)
        packed_weights_are_kept(folder)
        bench(folder)
        fallbacks(folder)
        requantize(folder)
        from_gguf_or_directory(model, folder)
        plan(model, folder)
        usage()


if __name__ == "__main__":
    main()
