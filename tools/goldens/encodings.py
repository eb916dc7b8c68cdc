#!/usr/bin/env python3
"""Writes, in OUT_FOLDER (tests/data/encodings), what gguf-py makes of each type:

    TYPE.bin             random blocks, then what they decode to (binary32)
    TYPE_reference.bin   weights (binary32), then the blocks that the type's published rule makes of them

    encodings.py OUT_FOLDER        needs: pip install gguf numpy
"""
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

BLOCKS = {  # type: bytes a block, offsets of its binary16 numbers
    T.Q4_0: (18, [0]), T.Q4_1: (20, [0, 2]), T.Q5_0: (22, [0]), T.Q5_1: (24, [0, 2]), T.Q8_0: (34, [0]),
    T.Q2_K: (84, [80, 82]), T.Q3_K: (110, [108]), T.Q4_K: (144, [0, 2]), T.Q5_K: (176, [0, 2]), T.Q6_K: (210, [208]),
    T.IQ4_NL: (18, [0]), T.IQ4_XS: (136, [0])}
COUNT = 24


def decoded(rng, folder):
    for kind, (size, halves) in BLOCKS.items():
        blocks = rng.integers(0, 256, (COUNT, size), dtype=np.uint8)
        for at in halves:
            blocks[:, at:at + 2] = (rng.normal(size=(COUNT, 1)) * 0.05).astype(np.float16).view(np.uint8)
        values = dequantize(blocks, kind).astype("<f4")
        pathlib.Path(folder, f"{kind.name}.bin").write_bytes(blocks.tobytes() + values.tobytes())


def reference(folder):
    """Weights of several sizes, and blocks that rules trip over: zeros, equal values, ties, an outlier, one sign."""
    rng = np.random.default_rng(31)
    weights = rng.normal(size=(COUNT, 32)) * np.exp2(rng.integers(-12, 8, (COUNT, 1)))
    weights[0] = 0
    weights[1] = 0.75
    weights[2] = np.arange(32) - 16
    weights[3] = np.arange(32) / 4
    weights[4] = -np.abs(weights[4])
    weights[5, 7] *= 1000
    weights = weights.astype("<f4")
    for kind in (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0):
        pathlib.Path(folder, f"{kind.name}_reference.bin").write_bytes(weights.tobytes() + quantize(weights, kind).tobytes())


if __name__ == "__main__":
    decoded(np.random.default_rng(27), sys.argv[1])
    reference(sys.argv[1])
