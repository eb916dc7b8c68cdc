"""The same model with its channels in another order: what rounding makes of it differs by chance only."""
import array
import json
import operator
import random
import shutil
import struct


def shuffled(directory, out, seed):
    """Copies a Hugging Face directory of one model.safetensors of 2- or 4-byte floats, the channels between gate, up and
    down projection of each layer in an order that `seed` gives. The model's function is the same; but other weights meet in
    a block of 16, 32 or 256, so that their rounding is drawn anew."""
    shutil.copytree(directory, out)
    path = out / "model.safetensors"
    data = bytearray(path.read_bytes())
    size = struct.unpack_from("<Q", data)[0]
    tensors = json.loads(data[8:8 + size])
    tensors.pop("__metadata__", None)
    order, choice = {}, random.Random(seed)
    for name in sorted(tensors):
        if not name.endswith(("gate_proj.weight", "up_proj.weight", "down_proj.weight")):
            continue
        info = tensors[name]
        rows, cols = info["shape"]
        begin, end = (8 + size + at for at in info["data_offsets"])
        channels = cols if "down_proj" in name else rows
        layer = name.rsplit(".", 2)[0]
        if layer not in order:
            order[layer] = choice.sample(range(channels), channels)
        pick = operator.itemgetter(*order[layer])
        width = (end - begin) // rows
        matrix = [data[begin + r * width:begin + (r + 1) * width] for r in range(rows)]
        if "down_proj" in name:
            kind = {2: "H", 4: "I"}[width // cols]
            matrix = [array.array(kind, pick(array.array(kind, bytes(row)))).tobytes() for row in matrix]
        else:
            matrix = pick(matrix)
        data[begin:end] = b"".join(matrix)
    path.write_bytes(data)
    return out
