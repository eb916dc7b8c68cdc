#!/usr/bin/env python3
"""Writes a model of a real shape with random weights, to measure speed and memory at real size.

    make_random_model.py OUT.gguf --shape 1B|7B [--type Q4_K] [--layers N]      a GGUF file
    make_random_model.py OUT_DIR  --shape 1B|7B --tokenizer HF_DIR [--layers N] a Hugging Face directory, BF16

A GGUF file has a made-up vocabulary of 32000 tokens and every matrix in one type; of mixtures (Q4_K_M), write F16 and have
`lowbit quantize` make them. A directory takes its tokenizer from another model. Needs numpy. Memory stays small.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

SHAPES = {  # hidden, ffn, layers, heads, kv_heads (1B: Llama-3.2-1B, 7B: Llama-2-7B)
    "1B": (2048, 8192, 16, 32, 8),
    "7B": (4096, 11008, 32, 32, 32),
}
VOCAB = 32000
# GGUF's number, weights a block, bytes a block, where its binary16 scale and minimum are
TYPES = {
    "F32": (0, 1, 4, None, None), "F16": (1, 1, 2, None, None), "BF16": (30, 1, 2, None, None),
    "Q4_0": (2, 32, 18, 0, None), "Q4_1": (3, 32, 20, 0, 2), "Q5_0": (6, 32, 22, 0, None), "Q5_1": (7, 32, 24, 0, 2),
    "Q8_0": (8, 32, 34, 0, None), "Q2_K": (10, 256, 84, 80, 82), "Q3_K": (11, 256, 110, 108, None),
    "Q4_K": (12, 256, 144, 0, 2), "Q5_K": (13, 256, 176, 0, 2), "Q6_K": (14, 256, 210, 208, None),
    "IQ4_NL": (20, 32, 18, 0, None), "IQ4_XS": (23, 256, 136, 0, None),
}
# What a scale of 1 spreads a weight by, about, and the minimum that centres it, in scales: weights stay near 1/sqrt(columns).
SPREAD = {"Q4_0": (4.6, 0), "Q4_1": (4.6, -7.5), "Q5_0": (9.2, 0), "Q5_1": (9.2, -15.5), "Q8_0": (74, 0), "Q2_K": (12, 1.5),
          "Q3_K": (40, 0), "Q4_K": (160, 7.5), "Q5_K": (320, 15.5), "Q6_K": (1350, 0), "IQ4_NL": (65, 0), "IQ4_XS": (1200, 0)}


def tensor_names(layers, hidden, ffn, kv_rows, vocab):
    """GGUF name, Hugging Face name, shape [rows, columns] (or [n]) of every tensor; the output is the embedding."""
    yield "token_embd.weight", "model.embed_tokens.weight", (vocab, hidden)
    yield "output_norm.weight", "model.norm.weight", (hidden,)
    for i in range(layers):
        for ours, theirs, shape in (
                ("attn_norm", "input_layernorm", (hidden,)), ("ffn_norm", "post_attention_layernorm", (hidden,)),
                ("attn_q", "self_attn.q_proj", (hidden, hidden)), ("attn_k", "self_attn.k_proj", (kv_rows, hidden)),
                ("attn_v", "self_attn.v_proj", (kv_rows, hidden)), ("attn_output", "self_attn.o_proj", (hidden, hidden)),
                ("ffn_gate", "mlp.gate_proj", (ffn, hidden)), ("ffn_up", "mlp.up_proj", (ffn, hidden)),
                ("ffn_down", "mlp.down_proj", (hidden, ffn))):
            yield f"blk.{i}.{ours}.weight", f"model.layers.{i}.{theirs}.weight", shape


def random_rows(rng, kind, rows, cols):
    """Bytes of a matrix: any codes and integer scales, below block scales that keep weights of a model's size."""
    if kind in ("F32", "F16", "BF16"):
        values = rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(1 / np.sqrt(cols))
        if kind == "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16)
        return values.astype(np.float16) if kind == "F16" else values
    _, block, size, scale, minimum = TYPES[kind]
    blocks = np.frombuffer(rng.bytes(rows * cols // block * size), np.uint8).reshape(-1, size).copy()
    spread, centre = SPREAD[kind]
    sizes = rng.uniform(0.8, 1.2, len(blocks)) / spread / np.sqrt(cols)  # neighbours differ: the same would be stored once
    for at, value in ((scale, 1), (minimum, centre)):
        if at is not None:
            blocks[:, at:at + 2] = (sizes * value).astype(np.float16).view(np.uint8).reshape(-1, 2)
    return blocks


class Gguf:
    """GGUF version 3, little-endian: the header first, then tensors in the order announced."""

    def __init__(self, path, metadata, tensors):
        self.file = open(path, "wb")
        out = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
        for key, value in metadata.items():
            out += [self.text(key), self.value(value)]
        offset = 0
        for name, shape, kind in tensors:
            number, block, size = TYPES[kind][:3]
            out += [self.text(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), number, offset)]
            offset += (int(np.prod(shape, dtype=np.int64)) // block * size + 31) // 32 * 32
        self.add(b"".join(out))

    @staticmethod
    def text(s):
        data = s.encode()
        return struct.pack("<Q", len(data)) + data

    def value(self, v):
        if isinstance(v, str):
            return struct.pack("<I", 8) + self.text(v)
        if isinstance(v, float):
            return struct.pack("<If", 6, v)
        if isinstance(v, int):
            return struct.pack("<II", 4, v)
        kind = {str: 8, float: 6, int: 5}[type(v[0])]
        body = b"".join(map(self.text, v)) if kind == 8 else np.array(v, np.float32 if kind == 6 else np.int32).tobytes()
        return struct.pack("<IIQ", 9, kind, len(v)) + body

    def add(self, data):
        self.file.write(data)
        self.file.write(b"\0" * (-self.file.tell() % 32))


def vocabulary():
    """What every SentencePiece vocabulary begins with, then made-up words."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    tokens += [f"\u2581w{i}" for i in range(VOCAB - len(tokens))]
    kinds += [1] * (VOCAB - len(kinds))
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(i) for i in range(VOCAB)], "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0}


def write_gguf(path, name, kind, layers):
    hidden, ffn, _, heads, kv = SHAPES[name]
    tensors = [(ours, shape, kind if len(shape) == 2 else "F32")
               for ours, _, shape in tensor_names(layers, hidden, ffn, kv * hidden // heads, VOCAB)]
    metadata = {"general.architecture": "llama", "general.name": f"random {name}", "llama.block_count": layers,
                "llama.context_length": 131072, "llama.embedding_length": hidden, "llama.feed_forward_length": ffn,
                "llama.attention.head_count": heads, "llama.attention.head_count_kv": kv,
                "llama.rope.dimension_count": hidden // heads, "llama.rope.freq_base": 10000.0,
                "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": VOCAB} | vocabulary()
    out, rng = Gguf(path, metadata, tensors), np.random.default_rng(27)
    for _, shape, of in tensors:
        out.add((random_rows(rng, of, *shape) if len(shape) == 2 else np.ones(shape, np.float32)).tobytes())
    print(f"{path}: {sum(int(np.prod(s)) for _, s, _ in tensors) / 1e6:.0f} million weights")


def write_shard(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.tobytes())


def write_directory(folder, name, tokenizer, layers):
    """One shard a layer."""
    folder.mkdir(parents=True, exist_ok=True)
    hidden, ffn, _, heads, kv = SHAPES[name]
    config = json.loads((tokenizer / "config.json").read_text())
    rng, shards, total, index = np.random.default_rng(27), {}, 0, {}
    for _, tensor, shape in tensor_names(layers, hidden, ffn, kv * hidden // heads, config["vocab_size"]):
        layer = int(tensor.split(".")[2]) + 2 if tensor.startswith("model.layers.") else 1
        shards.setdefault(layer, []).append((tensor, shape))
    for number, tensors in shards.items():
        file = f"model-{number:05}-of-{layers + 1:05}.safetensors"
        shard = {t: random_rows(rng, "BF16", *s) if len(s) == 2 else np.full(s, 0x3F80, np.uint16) for t, s in tensors}
        write_shard(folder / file, shard)
        index |= {t: file for t in shard}
        total += sum(t.nbytes for t in shard.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    config |= {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
               "num_key_value_heads": kv, "head_dim": hidden // heads, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(tokenizer / file, folder / file)
    print(f"{folder}: {total / 2e6:.0f} million weights")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--shape", choices=SHAPES, default="1B")
    p.add_argument("--type", choices=TYPES, default="F16", help="of a GGUF file's matrices")
    p.add_argument("--layers", type=int, help="fewer than the shape has, for what is measured a layer")
    p.add_argument("--tokenizer", type=pathlib.Path, help="of a Hugging Face directory: another one, to copy it from")
    a = p.parse_args()
    layers = a.layers or SHAPES[a.shape][2]
    if a.out.suffix == ".gguf":
        write_gguf(a.out, a.shape, a.type, layers)
    elif a.tokenizer is None:
        p.error("a Hugging Face directory needs --tokenizer (a GGUF file: a name that ends in .gguf)")
    else:
        write_directory(a.out, a.shape, a.tokenizer, layers)


if __name__ == "__main__":
    main()
