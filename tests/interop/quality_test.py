#!/usr/bin/env python3
"""Every named type beside llama-quantize's: file size, perplexity agreement, and KL divergence by stock llama-perplexity.

Asserts, per type, plain and with the same importance matrix: our file loads in llama.cpp; its size is llama-quantize's
within 0.5 %; its mean KL divergence is no worse. Prints a Markdown table (docs/quality.md). LOWBIT_QUALITY_CHUNKS (40),
LOWBIT_QUALITY_MODELS and LOWBIT_QUALITY_TYPES narrow it. LOWBIT_QUALITY_SHUFFLES (0) copies of each model, the same but for
the order of their channels, join in, and the divergence is the mean over all copies: one model alone tells only roughly
which program rounds better, because a few weights decide much.

`lowbit eval` and llama-perplexity shall agree within 0.2 % on our files. Rounded activations make two correct programs
differ by chance (docs/quality.md), so that the measure is the mean difference of -log p in pairs, chunk by chunk, and its
standard error. A file for which 0.2 % seems to be ruled out (beyond it by two standard errors: of 72 files, chance takes
some that far), or that tells nothing, is measured again over the LOWBIT_QUALITY_MORE (40) chunks that follow, which know
nothing of the first; it fails if they rule 0.2 % out as well. Over all files, where chance cancels out, the mean difference
of the first measurement must be within 0.2 % as it is.
"""
import os
import pathlib
import re
import statistics
import tempfile

import peers
import shuffle

TYPES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "IQ4_NL", "Q4_1", "Q4_0", "IQ4_XS", "Q3_K_L",
         "Q3_K_M", "Q3_K_S", "Q2_K", "F16", "BF16"]
TYPES = os.environ.get("LOWBIT_QUALITY_TYPES", " ".join(TYPES)).split()
CHUNKS = int(os.environ.get("LOWBIT_QUALITY_CHUNKS", "40"))
MORE = int(os.environ.get("LOWBIT_QUALITY_MORE", "40"))
SHUFFLES = int(os.environ.get("LOWBIT_QUALITY_SHUFFLES", "0"))


def divergence(llama, model, base):
    text = peers.run(llama / "bin/llama-perplexity", "-m", model, "--kl-divergence", "--kl-divergence-base", base)
    found = re.search(r"Mean    KLD:\s*([-\d.e]+)", text)
    perplexity = re.search(r"Mean PPL\(Q\)\s*:\s*([\d.]+)", text)
    assert found and perplexity, text[-2000:]
    return float(found[1]), float(perplexity[1]), peers.chunk_nll(text)


def on_more_text(llama, ours, text):
    """lowbit eval's -log p beside llama-perplexity's, over the MORE chunks behind the first."""
    count = CHUNKS + MORE
    seen = peers.lowbit_json("eval", ours, "--text", text, "--chunks", count)
    printed = peers.run(llama / "bin/llama-perplexity", "-m", ours, "-f", text, "--chunks", count)
    return peers.paired(seen["chunk_nll"][CHUNKS:], peers.chunk_nll(printed)[CHUNKS:])


def compare(llama, data, f16, folder, base, kind, stats):
    ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
    imatrix = ["--imatrix", stats] if stats else []
    peers.lowbit_json("quantize", f16, ours, kind, *imatrix)
    peers.run(llama / "bin/llama-quantize", *imatrix, f16, theirs, kind)
    our_kld, our_ppl, our_nll = divergence(llama, ours, base)
    their_kld, their_ppl, _ = divergence(llama, theirs, base)
    seen = peers.lowbit_json("eval", ours, "--text", data / "wiki.test.raw", "--chunks", CHUNKS)
    assert len(our_nll) == CHUNKS, len(our_nll)
    difference, error = peers.paired(seen["chunk_nll"], our_nll)
    again = None if peers.agree(difference, error) else on_more_text(llama, ours, data / "wiki.test.raw")
    return {"again": again, "size": ours.stat().st_size / theirs.stat().st_size, "ours": our_kld, "theirs": their_kld,
            "our_ppl": our_ppl, "their_ppl": their_ppl, "difference": difference, "error": error}


def percent(difference, error):
    return f"{100 * difference:+.2f} % +- {100 * error:.2f} %"


def failures(kind, how, r):
    out = []
    if abs(r["size"] - 1) > 0.005:
        out.append(f"{kind} {how}: size is {r['size']:.4f} of llama-quantize's")
    if r["again"] and not peers.agree(*r["again"]):
        out.append(f"{kind} {how}: lowbit eval's perplexity is {percent(r['difference'], r['error'])} off llama-perplexity's, "
                   f"and {percent(*r['again'])} on more text")
    return out


def measure(llama, data, model, title, wrong):
    """Every type of one model: a table, and {(type, importance): what compare() found}."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        f16, base, stats = folder / "f16.gguf", folder / "base.kld", folder / "stats.gguf"
        peers.lowbit_json("convert", model, f16, "--type", "F16")
        peers.run(llama / "bin/llama-imatrix", "-m", f16, "-f", data / "wiki.valid.txt", "-o", stats, "--chunks", "60")
        peers.run(llama / "bin/llama-perplexity", "-m", f16, "-f", data / "wiki.test.raw", "--chunks", CHUNKS,
                  "--kl-divergence-base", base)
        print(f"\n{title}, {CHUNKS} chunks of 512 tokens of wiki.test.raw\n")
        print("| type | importance | size ratio | KLD lowbit | KLD llama-quantize | ratio | PPL lowbit | PPL llama-quantize "
              "| lowbit eval beside llama-perplexity |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        for kind in TYPES:
            for how, matrix in (("none", None), ("imatrix", stats)):
                r = compare(llama, data, f16, folder, base, kind, matrix)
                ratio = r["ours"] / r["theirs"] if r["theirs"] > 0 else 1
                print(f"| {kind} | {how} | {r['size']:.4f} | {r['ours']:.6f} | {r['theirs']:.6f} | {ratio:.3f} | "
                      f"{r['our_ppl']:.4f} | {r['their_ppl']:.4f} | "
                      f"{percent(r['difference'], r['error'])}"
                      f"{'; on more text ' + percent(*r['again']) if r['again'] else ''} |", flush=True)
                wrong += [f"{title} {w}" for w in failures(kind, how, r)]
                results[kind, how] = r
    return results


def judge_divergence(name, copies, wrong):
    """Over all copies of a model, lowbit's mean divergence of each type is no worse."""
    if len(copies) > 1:
        print(f"\n{name}, mean of {len(copies)} copies\n\n| type | importance | KLD lowbit | KLD llama-quantize | ratio "
              "| of each copy |\n|---|---|---|---|---|---|")
    for kind, how in copies[0]:
        pairs = [(c[kind, how]["ours"], c[kind, how]["theirs"]) for c in copies]
        ours, theirs = (statistics.mean(side) for side in zip(*pairs))
        if len(copies) > 1:
            each = " ".join(f"{a / b if b > 0 else 1:.3f}" for a, b in pairs)
            print(f"| {kind} | {how} | {ours:.6f} | {theirs:.6f} | {ours / theirs if theirs > 0 else 1:.3f} | {each} |")
        if ours > theirs + 5e-6:  # llama-perplexity prints six decimals
            wrong.append(f"{name} {kind} {how}: mean KL divergence {ours:.6f} against {theirs:.6f}")


def main():
    llama = peers.llama_cpp("llama-quantize", "llama-perplexity", "llama-imatrix")
    data, models = peers.data(), peers.models()
    wrong, differences = [], []
    for name in os.environ.get("LOWBIT_QUALITY_MODELS", "smollm2-135m-768,smollm2-135m").split(","):
        copies = [measure(llama, data, models / name, name, wrong)]
        for seed in range(1, SHUFFLES + 1):
            with tempfile.TemporaryDirectory() as folder:
                model = shuffle.shuffled(models / name, pathlib.Path(folder) / name, seed)
                copies.append(measure(llama, data, model, f"{name} shuffled by {seed}", wrong))
        judge_divergence(name, copies, wrong)
        differences += [r["difference"] for c in copies for r in c.values()]
    overall = statistics.mean(differences)
    print(f"\nlowbit eval beside llama-perplexity, mean over {len(differences)} files: {100 * overall:+.3f} %")
    if abs(overall) > peers.AGREEMENT:
        wrong.append(f"lowbit eval's perplexity is {100 * overall:+.2f} % off llama-perplexity's over all files")
    print("\n" + ("\n".join(wrong) or "every bar holds"))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
