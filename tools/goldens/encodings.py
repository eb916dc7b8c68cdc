#!/usr/bin/env python3
"""Writes tests/data/encodings/TYPE.bin: random blocks, then what gguf-py decodes them to (binary32).

    encodings.py OUT_FOLDER        needs: pip install gguf numpy
"""
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize

BLOCKS = {  # type: bytes a block, offsets of its binary16 numbers
    T.Q4_0: (18, [0]), T.Q4_1: (20, [0, 2]), T.Q5_0: (22, [0]), T.Q5_1: (24, [0, 2]), T.Q8_0: (34, [0]),
    T.Q2_K: (84, [80, 82]), T.Q3_K: (110, [108]), T.Q4_K: (144, [0, 2]), T.Q5_K: (176, [0, 2]), T.Q6_K: (210, [208]),
    T.IQ4_NL: (18, [0]), T.IQ4_XS: (136, [0])}
COUNT = 24


def main():
    rng = np.random.default_rng(27)
    for kind, (size, halves) in BLOCKS.items():
        blocks = rng.integers(0, 256, (COUNT, size), dtype=np.uint8)
        for at in halves:
            blocks[:, at:at + 2] = (rng.normal(size=(COUNT, 1)) * 0.05).astype(np.float16).view(np.uint8)
        values = dequantize(blocks, kind).astype("<f4")
        pathlib.Path(sys.argv[1], f"{kind.name}.bin").write_bytes(blocks.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
