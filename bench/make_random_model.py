#!/usr/bin/env python3
"""Writes a Hugging Face directory of a real shape with random weights, to measure speed and memory at real size.

    make_random_model.py OUT --shape 1B|7B --tokenizer HF_DIR [--layers N]

The tokenizer is taken from another model. Needs: pip install numpy. BF16; one shard per layer, so that memory stays small.
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


def bf16(rng, rows, cols):
    values = rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(1 / np.sqrt(cols))
    return (values.view(np.uint32) >> 16).astype(np.uint16)


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


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--shape", choices=SHAPES, default="1B")
    p.add_argument("--layers", type=int, help="fewer than the shape has, for what is measured a layer")
    p.add_argument("--tokenizer", type=pathlib.Path, required=True)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    hidden, ffn, layers, heads, kv = SHAPES[a.shape]
    layers = a.layers or layers
    config = json.loads((a.tokenizer / "config.json").read_text())
    vocab, rng, kv_rows = config["vocab_size"], np.random.default_rng(27), kv * hidden // heads
    ones = lambda n: np.full(n, 0x3F80, np.uint16)
    shards = [{"model.embed_tokens.weight": bf16(rng, vocab, hidden), "model.norm.weight": ones(hidden)}]
    index, total = {}, 0
    for i in range(-1, layers):
        q = f"model.layers.{i}."
        shard = shards[0] if i < 0 else {
            q + "input_layernorm.weight": ones(hidden), q + "post_attention_layernorm.weight": ones(hidden),
            q + "self_attn.q_proj.weight": bf16(rng, hidden, hidden), q + "self_attn.k_proj.weight": bf16(rng, kv_rows, hidden),
            q + "self_attn.v_proj.weight": bf16(rng, kv_rows, hidden), q + "self_attn.o_proj.weight": bf16(rng, hidden, hidden),
            q + "mlp.gate_proj.weight": bf16(rng, ffn, hidden), q + "mlp.up_proj.weight": bf16(rng, ffn, hidden),
            q + "mlp.down_proj.weight": bf16(rng, hidden, ffn)}
        name = f"model-{i + 2:05}-of-{layers + 1:05}.safetensors"
        write_shard(a.out / name, shard)
        index |= {t: name for t in shard}
        total += sum(t.nbytes for t in shard.values())
    (a.out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    config |= {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
               "num_key_value_heads": kv, "head_dim": hidden // heads, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}
    (a.out / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(a.tokenizer / name, a.out / name)
    print(f"{a.out}: {total / 2e6:.0f} million weights")


if __name__ == "__main__":
    main()
