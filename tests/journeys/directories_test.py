#!/usr/bin/env python3
"""Quantized Hugging Face directories: every scheme writes, reads, runs, converts; refusals; the same bytes always."""
import json
import math
import os
import pathlib
import shutil

from tiny import TEXT, lowbit, lowbit_json, make_model, refused, scratch

# Scheme -> KL divergence that it stays below on the small model.
SCHEMES = {"gptq-4bit-128g": 0.5, "gptq-4bit-64g-asym": 0.5, "gptq-4bit-128g-asym-v1": 0.5, "gptq-3bit-64g-asym": 1.1,
           "gptq-2bit-32g": 3, "gptq-8bit-channel": 0.01, "rtn-4bit-128g": 0.5, "awq-4bit-128g": 0.5, "nf4": 0.5,
           "nf4-dq": 0.5, "fp4": 0.5, "fp4-dq": 0.5, "bnb-int8": 0.01, "hqq-8bit-64g": 0.01, "hqq-4bit-64g": 0.5,
           "hqq-3bit-64g": 1.1, "hqq-2bit-32g": 3, "eetq": 0.01, "w4a16": 0.5, "w4a16-64g-asym": 0.5, "w8a16": 0.01,
           "w8a16-tensor": 0.02, "w8a8": 0.01, "smoothquant-w8a8": 0.01, "gptq-w4a16": 0.5, "awq-w4a16-64g-asym": 0.5,
           "w8a8-static": 0.02, "smoothquant-w8a8-static": 0.02}
EXACT = {"gptq-4bit-128g": "Q4_0", "gptq-4bit-64g-asym": "Q5_0", "awq-4bit-128g": "Q5_0", "gptq-2bit-32g": "Q4_0",
         "gptq-8bit-channel": "Q8_0", "eetq": "Q8_0"}


# The tiny model needs no more.
CALIBRATION = ["--samples", 16, "--length", 128]


def every_scheme(model, folder):
    for scheme, limit in SCHEMES.items():
        out = folder / scheme
        plan = lowbit_json("quantize", model, out, scheme, "--plan")
        assert not out.exists()
        done = lowbit_json("quantize", model, out, scheme, *CALIBRATION)
        assert done["bytes"] == plan["bytes"] and done["fallbacks"] == [], (scheme, done)
        assert not list(out.glob("*.lowbit-tmp"))
        seen = lowbit_json("inspect", out)
        assert seen["bytes"] == done["bytes"] and abs(seen["bits_per_weight"] - done["bits_per_weight"]) < 1e-9, scheme
        config = json.loads((out / "config.json").read_text())
        assert config["quantization_config"]["quant_method"] in (
            "gptq", "awq", "bitsandbytes", "hqq", "eetq", "compressed-tensors") and config["hidden_size"] == 256
        calibrated = any(method in scheme for method in ("gptq", "awq", "smoothquant", "static"))
        uses = None if calibrated or scheme.startswith("rtn") else "random tokens"
        assert config["lowbit_provenance"].get("importance") == uses, (scheme, config["lowbit_provenance"])
        assert (out / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
        result = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 128)
        assert math.isfinite(result["perplexity"]) and result["mean_kld"] < limit, (scheme, result)
        lowbit("run", out, "-p", "Hello", "-n", 3)


def conversion(folder):
    for scheme, encoding in EXACT.items():
        file = folder / (scheme + ".gguf")
        done = lowbit_json("convert", folder / scheme, file)
        assert all(t["exact"] and t["encoding"] == encoding for t in done["tensors"]), (scheme, done["tensors"][:2])
        result = lowbit_json("eval", file, "--text", TEXT, "--reference", folder / scheme, "--chunks", 2, "-c", 128)
        assert result["mean_kld"] < 1e-3, (scheme, result)
    rounded = lowbit_json("convert", folder / "nf4", folder / "nf4.gguf")["tensors"]
    assert len(rounded) == 21 and not any(t["exact"] for t in rounded)
    lowbit("convert", folder / "nf4-dq", folder / "dense")
    assert "quantization_config" not in json.loads((folder / "dense/config.json").read_text())
    assert lowbit_json("eval", folder / "dense", "--text", TEXT, "--reference", folder / "nf4-dq", "--chunks", 2, "-c",
                       128)["mean_kld"] < 0.01


def transforms_and_roundings(model, folder):
    """Every transform with every rounding, in both containers and several encodings."""
    few = ["--samples", 8, "--length", 64]
    for scheme, limit in (("gptq-4bit-64g-asym", 0.5), ("nf4", 0.5), ("w8a8", 0.01), ("Q4_K_M", 0.5), ("IQ4_NL", 0.5)):
        for transform in ("awq", "smoothquant", "none"):
            for rounding in ("gptq", "weighted"):
                out = folder / f"{scheme}-{transform}-{rounding}{'.gguf' if scheme[0] in 'QI' else ''}"
                lowbit("quantize", model, out, scheme, "--transform", transform, "--rounding", rounding, *few)
                kld = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 128)["mean_kld"]
                assert kld < limit, (out.name, kld)


def orders_of_columns(model, folder):
    """GPTQ's orders: what each file says, that it reads back as it was rounded, and what cannot be."""
    stored = None
    for order in ("stored", "group-aware", "static", "act"):
        out = folder / f"order-{order}"
        lowbit("quantize", model, out, "gptq-4bit-64g", "--order", order, *CALIBRATION)
        config = json.loads((out / "config.json").read_text())
        said = [config["quantization_config"][key] for key in ("desc_act", "static_groups", "act_group_aware")]
        assert said == [order == "act", order == "static", order == "group-aware"], (order, said)
        assert config["lowbit_provenance"]["order"] == order
        weights = (out / "model.safetensors").read_bytes()
        stored = stored or weights
        assert (weights == stored) == (order == "stored"), order
        kld = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 128)["mean_kld"]
        assert kld < 0.5, (order, kld)
        lowbit("verify", out)
        for n in (1, 3):
            lowbit("quantize", model, folder / f"threads{n}", "gptq-4bit-64g", "--order", order, "-t", n, *CALIBRATION)
            assert (folder / f"threads{n}/model.safetensors").read_bytes() == weights, order
    for order in ("group-aware", "static"):
        file = folder / f"order-{order}.gguf"
        lowbit("quantize", model, file, "Q4_K_M", "--rounding", "gptq", "--order", order, *CALIBRATION)
        kld = lowbit_json("eval", file, "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 128)["mean_kld"]
        assert kld < 0.5, (order, kld)
    refused("quantize", model, folder / "no.gguf", "Q4_K_M", "--rounding", "gptq", "--order", "act", says="GGUF files")
    refused("quantize", model, folder / "no", "w4a16", "--rounding", "gptq", "--order", "act",
            says="compressed-tensors files cannot say")
    refused("quantize", model, folder / "no", "rtn-4bit-64g", "--order", "act", says="--rounding gptq")


def rehearsals(model, folder):
    for out, scheme in ((folder / "no", "nf4"), (folder / "no", "awq-4bit-128g"), (folder / "no.gguf", "Q4_K_M"),
                        (folder / "no.gguf", "Q4_K_M --rounding gptq --no-journal")):
        plan = lowbit_json("quantize", model, out, *scheme.split(), "--plan", "--rehearse", *CALIBRATION)
        journal = "awq" in scheme
        assert plan["seconds"] > 0 and plan["memory_bytes"] > 1e6, plan
        assert plan["disk_bytes"] == plan["bytes"] * (2 if journal else 1), plan
        assert not out.exists() and not list(folder.glob("no*")), list(folder.iterdir())


def same_bytes_for_any_machine(model, folder):
    """The portable kernels and those of this machine make the same file."""
    for scheme, options in (("Q4_K_M", ["--rounding", "gptq", "--transform", "awq"]), ("IQ4_XS", [])):
        files = []
        for isa in ("ref", None):
            if isa:
                os.environ["LOWBIT_ISA"] = isa
            out = folder / f"{scheme}-{isa}.gguf"
            lowbit("quantize", model, out, scheme, *options, "--samples", 8, "--length", 32)
            os.environ.pop("LOWBIT_ISA", None)
            files.append(out.read_bytes())
        assert files[0] == files[1], scheme


def same_bytes_for_any_threads(model, folder):
    for scheme in ("gptq-4bit-128g", "nf4-dq", "hqq-3bit-64g", "awq-4bit-128g", "smoothquant-w8a8-static"):
        for n in (1, 3):
            lowbit("quantize", model, folder / f"threads{n}", scheme, "-t", n, *CALIBRATION)
        files = [(folder / f"threads{n}/model.safetensors").read_bytes() for n in (1, 3)]
        assert files[0] == files[1], scheme


def refusals(model, folder):
    nf4 = folder / "nf4"
    refused("quantize", model, folder / "no", "gptq-5bit-128g", says="5 bits")
    refused("quantize", model, folder / "no", "qqq-4bit", says=["is no scheme", "gptq-4bit-128g", "Q4_K_M"])
    refused("quantize", model, folder / "no.gguf", "nf4", says="Hugging Face directory")
    refused("quantize", model, folder / "no", "nf4", "--search", "best", says="--search best")
    refused("quantize", nf4, folder / "no.gguf", "Q4_K_M", says=["already quantized", "NF4"])
    refused("quantize", nf4, folder / "no", "w4a16", says="already quantized")
    refused("quantize", model, model, "nf4", says="source itself")
    refused("quantize", model, folder / "no", "awq-4bit-65536g", says="no matrix can be stored")
    lowbit("quantize", nf4, folder / "again", "w4a16", "--allow-requantize")
    lowbit("quantize", nf4, folder / "again.gguf", "Q4_K_M", "--allow-requantize")
    broken = folder / "broken"
    shutil.copytree(nf4, broken)
    config = json.loads((broken / "config.json").read_text())
    config["quantization_config"]["quant_method"] = "aqlm"
    (broken / "config.json").write_text(json.dumps(config))
    refused("inspect", broken, says=["aqlm", "known are gptq"])
    assert not (folder / "no").exists() and not (folder / "no.gguf").exists()


def from_gguf_and_with_fallbacks(model, folder):
    lowbit("convert", model, folder / "plain.gguf")
    lowbit("quantize", folder / "plain.gguf", folder / "from-gguf", "nf4")
    a, b = folder / "from-gguf", folder / "nf4"
    result = lowbit_json("eval", a, "--text", TEXT, "--reference", b, "--chunks", 2, "-c", 128)
    assert result["mean_kld"] < 1e-6, result
    odd = make_model(folder / "odd", hidden=96, ffn=256)
    done = lowbit_json("quantize", odd, folder / "mixed", "awq-4bit-128g")
    assert done["fallbacks"] and all(f["stored"] == "F32" for f in done["fallbacks"]), done
    assert math.isfinite(lowbit_json("eval", folder / "mixed", "--text", TEXT, "--chunks", 2, "-c", 128)["perplexity"])
    refused("quantize", odd, folder / "no", "awq-4bit-128g", "--strict", says="--strict")
    # A last group of 32 columns.
    lowbit("quantize", odd, folder / "short", "gptq-4bit-64g-asym", *CALIBRATION)
    lowbit("eval", folder / "short", "--text", TEXT, "--chunks", 2, "-c", 128)


def main():
    with scratch() as folder:
        folder = pathlib.Path(folder)
        model = make_model(folder / "model")
        every_scheme(model, folder)
        conversion(folder)
        transforms_and_roundings(model, folder)
        orders_of_columns(model, folder)
        rehearsals(model, folder)
        same_bytes_for_any_threads(model, folder)
        same_bytes_for_any_machine(model, folder)
        refusals(model, folder)
        from_gguf_and_with_fallbacks(model, folder)


main()
