#!/usr/bin/env python3
"""lowbit eval against llama-perplexity, on the same GGUF files made by llama-quantize.

LOWBIT_TYPES (default "F16 Q8_0 Q4_K_M Q2_K") names the types, LOWBIT_CHUNKS (default 40) the chunks of 512 tokens (0: all of
wiki.test.raw). Both round activations, and that rounding is chaotic (docs/quality.md): perplexities are compared in pairs of
chunks, and a file fails if 0.2 % is ruled out by two standard errors. F16 and the base must agree within 0.2 % as they are,
and so must the mean over all files, in which chance cancels out.
"""
import os
import pathlib
import re
import statistics
import tempfile

import peers


def figures(text):
    """What llama-perplexity --kl-divergence prints at its end."""
    patterns = {
        "perplexity": r"Mean PPL\(Q\)\s*:\s*(\S+) ±\s*(\S+)",
        "perplexity_ratio": r"Mean PPL\(Q\)/PPL\(base\)\s*:\s*(\S+) ±\s*(\S+)",
        "mean_kld": r"Mean    KLD:\s*(\S+) ±\s*(\S+)",
        "median_kld": r"Median  KLD:\s*(\S+)",
        "kld_p90": r"90.0%   KLD:\s*(\S+)",
        "kld_p99": r"99.0%   KLD:\s*(\S+)",
        "rms_delta_p": r"RMS Δp    :\s*(\S+) ±\s*(\S+) %",
        "top1_agreement": r"Same top p:\s*(\S+) ±\s*(\S+) %",
    }
    out = {}
    for key, pattern in patterns.items():
        groups = re.search(pattern, text).groups()
        scale = 0.01 if key in ("rms_delta_p", "top1_agreement") else 1
        out[key] = scale * float(groups[0])
        if len(groups) == 2:
            out[key + "_error"] = scale * float(groups[1])
    return out


def main():
    models, text = peers.models(), peers.data() / "wiki.test.raw"
    llama = peers.llama_cpp("llama-perplexity", "llama-quantize") / "bin"
    chunks = os.environ.get("LOWBIT_CHUNKS", "40")
    types = os.environ.get("LOWBIT_TYPES", "F16 Q8_0 Q4_K_M Q2_K").split()
    checks, differences = peers.Checks(), []
    for name in ("smollm2-135m-768", "smollm2-135m"):
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            base, logits, file = scratch / "f16.gguf", scratch / "logits", scratch / "quantized.gguf"
            peers.run(peers.LOWBIT, "convert", models / name, base)
            out = peers.run(llama / "llama-perplexity", "-m", base, "-f", text, "--chunks", chunks if chunks != "0" else "-1",
                              "--kl-divergence-base", logits)
            theirs = float(re.search(r"Final estimate: PPL = (\S+)", out).group(1))
            ours = peers.lowbit_json("eval", base, "--text", text, "--chunks", chunks)
            checks.near(f"{name} base perplexity", ours["perplexity"], theirs, relative=0.002)
            for kind in types:
                peers.run(llama / "llama-quantize", base, file, kind)
                printed = peers.run(llama / "llama-perplexity", "-m", file, "--kl-divergence", "--kl-divergence-base", logits)
                theirs = figures(printed)
                ours = peers.lowbit_json("eval", file, "--text", text, "--chunks", chunks, "--reference", base)
                label = f"{name} {kind}"
                difference, error = peers.paired(ours["chunk_nll"], peers.chunk_nll(printed))
                differences.append(difference)
                same = abs(difference) <= peers.AGREEMENT if kind == "F16" else peers.agree(difference, error)
                checks.true(f"{label} perplexity: ours {ours['perplexity']:.4f}, theirs {theirs['perplexity']:.4f}, "
                            f"{100 * difference:+.3f} % +- {100 * error:.3f} %", same)
                checks.near(f"{label} perplexity_error", ours["perplexity_error"], theirs["perplexity_error"],
                            relative=0.01)
                checks.near(f"{label} perplexity_ratio", ours["perplexity_ratio"], theirs["perplexity_ratio"],
                            relative=0.003 if kind == "F16" else 0.003 + 2 * error)
                # Both round activations, each in its way: divergences of the order of that noise differ.
                for key in ("mean_kld", "median_kld", "kld_p90", "kld_p99"):
                    checks.near(f"{label} {key}", ours[key], theirs[key], relative=0.05, absolute=0.002)
                checks.near(f"{label} rms_delta_p", ours["rms_delta_p"], theirs["rms_delta_p"], relative=0.05,
                            absolute=0.005)
                checks.near(f"{label} top1_agreement", ours["top1_agreement"], theirs["top1_agreement"], absolute=0.01)
    overall = statistics.mean(differences)
    checks.true(f"mean over {len(differences)} files: {100 * overall:+.3f} %", abs(overall) <= peers.AGREEMENT)
    checks.finish()


main()
