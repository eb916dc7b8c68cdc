#!/usr/bin/env python3
"""Writes tests/data/mixtures/NAME.txt: the encoding that stock llama-quantize gave each matrix of a model, per type.

    mixtures.py FOLDER NAME OUT    reads FOLDER/NAME-TYPE.gguf, and FOLDER/NAME-TYPE-im.gguf (made with --imatrix)

Needs: pip install gguf. One line each: TYPE plain|imatrix TENSOR ENCODING..., by layer.
"""
import pathlib
import re
import sys

from gguf import GGUFReader


def main():
    folder, name, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    lines = []
    for path in sorted(folder.glob(f"{name}-[QIB]*.gguf")):
        kind = re.fullmatch(re.escape(name) + r"-([A-Z0-9_]+)(-im)?\.gguf", path.name)
        if not kind:
            continue
        rows = {}
        for tensor in GGUFReader(str(path)).tensors:
            if len(tensor.shape) > 1:
                parts = tensor.name.split(".")
                layer, role = (int(parts[1]), parts[2]) if parts[0] == "blk" else (0, parts[0])
                rows.setdefault(role, {})[layer] = tensor.tensor_type.name
        for role, types in sorted(rows.items()):
            lines.append(f"{kind[1]} {'imatrix' if kind[2] else 'plain'} {role} {' '.join(t for _, t in sorted(types.items()))}")
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
