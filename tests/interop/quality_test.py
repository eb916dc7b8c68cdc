#!/usr/bin/env python3
"""Every named type beside llama-quantize's: file size, perplexity agreement, and KL divergence by stock llama-perplexity.

Asserts, per type, plain and with the same importance matrix: our file loads in llama.cpp; its size is llama-quantize's
within 0.5 %; `lowbit eval` and llama-perplexity agree within 0.2 % on it; its mean KL divergence is no worse. Prints a
Markdown table (docs/quality.md). LOWBIT_QUALITY_CHUNKS (40) and LOWBIT_QUALITY_MODELS narrow it.
"""
import os
import pathlib
import re
import tempfile

import peers

TYPES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "IQ4_NL", "Q4_1", "Q4_0", "IQ4_XS", "Q3_K_L",
         "Q3_K_M", "Q3_K_S", "Q2_K", "F16", "BF16"]
CHUNKS = int(os.environ.get("LOWBIT_QUALITY_CHUNKS", "40"))


def divergence(llama, model, base):
    text = peers.run(llama / "bin/llama-perplexity", "-m", model, "--kl-divergence", "--kl-divergence-base", base)
    found = re.search(r"Mean    KLD:\s*([-\d.e]+)", text)
    perplexity = re.search(r"Mean PPL\(Q\)\s*:\s*([\d.]+)", text)
    assert found and perplexity, text[-2000:]
    return float(found[1]), float(perplexity[1])


def compare(llama, data, f16, folder, base, kind, stats):
    ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
    imatrix = ["--imatrix", stats] if stats else []
    peers.lowbit_json("quantize", f16, ours, kind, *imatrix)
    peers.run(llama / "bin/llama-quantize", *imatrix, f16, theirs, kind)
    our_kld, our_ppl = divergence(llama, ours, base)
    their_kld, their_ppl = divergence(llama, theirs, base)
    seen = peers.lowbit_json("eval", ours, "--text", data / "wiki.test.raw", "--chunks", CHUNKS)
    return {"size": ours.stat().st_size / theirs.stat().st_size, "ours": our_kld, "theirs": their_kld,
            "our_ppl": our_ppl, "their_ppl": their_ppl, "eval": seen["perplexity"] / our_ppl}


def failures(kind, how, r):
    out = []
    if abs(r["size"] - 1) > 0.005:
        out.append(f"{kind} {how}: size is {r['size']:.4f} of llama-quantize's")
    if abs(r["eval"] - 1) > 0.002:
        out.append(f"{kind} {how}: lowbit eval's perplexity is {r['eval']:.4f} of llama-perplexity's")
    if r["ours"] > r["theirs"] + 5e-6:  # llama-perplexity prints six decimals
        out.append(f"{kind} {how}: mean KL divergence {r['ours']:.6f} against {r['theirs']:.6f}")
    return out


def main():
    llama = peers.llama_cpp("llama-quantize", "llama-perplexity", "llama-imatrix")
    data, models = peers.data(), peers.models()
    wrong = []
    for name in os.environ.get("LOWBIT_QUALITY_MODELS", "smollm2-135m-768,smollm2-135m").split(","):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            f16, base, stats = folder / "f16.gguf", folder / "base.kld", folder / "stats.gguf"
            peers.lowbit_json("convert", models / name, f16, "--type", "F16")
            peers.run(llama / "bin/llama-imatrix", "-m", f16, "-f", data / "wiki.valid.txt", "-o", stats, "--chunks", "60")
            peers.run(llama / "bin/llama-perplexity", "-m", f16, "-f", data / "wiki.test.raw", "--chunks", CHUNKS,
                      "--kl-divergence-base", base)
            print(f"\n{name}, {CHUNKS} chunks of 512 tokens of wiki.test.raw\n")
            print("| type | importance | size ratio | KLD lowbit | KLD llama-quantize | ratio | PPL lowbit | PPL llama-quantize | eval / llama-perplexity |")
            print("|---|---|---|---|---|---|---|---|---|", flush=True)
            for kind in TYPES:
                for how, matrix in (("none", None), ("imatrix", stats)):
                    r = compare(llama, data, f16, folder, base, kind, matrix)
                    ratio = r["ours"] / r["theirs"] if r["theirs"] > 0 else 1
                    print(f"| {kind} | {how} | {r['size']:.4f} | {r['ours']:.6f} | {r['theirs']:.6f} | {ratio:.3f} | "
                          f"{r['our_ppl']:.4f} | {r['their_ppl']:.4f} | {r['eval']:.5f} |", flush=True)
                    wrong += [f"{name} {w}" for w in failures(kind, how, r)]
    print("\n" + ("\n".join(wrong) or "every bar holds"))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
