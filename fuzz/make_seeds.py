#!/usr/bin/env python3
"""Writes a small seed corpus, one folder a fuzz target: fuzz/make_seeds.py FOLDER"""

import json
import pathlib
import struct
import sys

root = pathlib.Path(__file__).resolve().parents[1]
out = pathlib.Path(sys.argv[1])


def put(target, name, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(keys, tensors):
    """keys: (name, type, packed value); tensors: (name, floats). All tensors are F32."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, kind, value in keys:
        header += text(name) + struct.pack("<I", kind) + value
    data = b""
    for name, floats in tensors:
        header += text(name) + struct.pack("<IqIQ", 1, len(floats), 0, len(data))
        data += struct.pack(f"<{len(floats)}f", *floats)
        data += bytes(-len(data) % 32)
    return header + bytes(-len(header) % 32) + data


def strings(values):
    return struct.pack("<IQ", 8, len(values)) + b"".join(text(v) for v in values)


def safetensors(header, data):
    header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def old_imatrix(entries, dataset):
    data = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)
    return data + struct.pack("<ii", 2, len(dataset)) + dataset.encode()


goldens = root / "tests" / "data" / "container"
put("gguf", "golden", (goldens / "gguf_py.gguf").read_bytes())
put("gguf", "empty", gguf([], []))
put("gguf", "small", gguf([("general.alignment", 4, struct.pack("<I", 32)), ("t", 9, strings(["a", "b"]))], [("w", [1, 2, 3])]))
put("gguf", "nested", gguf([("n", 9, struct.pack("<IQIQI", 9, 1, 4, 1, 7))], []))

put("safetensors", "golden", (goldens / "library.safetensors").read_bytes())
put("safetensors", "empty", safetensors({}, b""))
put("safetensors", "small", safetensors({"__metadata__": {"format": "pt"}, "w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)))

put("safetensors_index", "small", json.dumps({"metadata": {"total_size": 4}, "weight_map": {"w": "model-00001-of-00001.safetensors"}}).encode())

imatrix_keys = [
    ("general.type", 8, text("imatrix")),
    ("imatrix.datasets", 9, strings(["wiki"])),
    ("imatrix.chunk_count", 4, struct.pack("<I", 1)),
    ("imatrix.chunk_size", 4, struct.pack("<I", 512)),
]
put("imatrix", "gguf", gguf(imatrix_keys, [("w.in_sum2", [1, 2]), ("w.counts", [2])]))
put("imatrix", "old", old_imatrix([("w", 2, [1, 2]), ("v", 0, [3])], "wiki"))

llama = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
put("config", "llama", json.dumps(llama).encode())
put("config", "llama3", json.dumps({**llama, "rope_scaling": scaling}).encode())
put("config", "linear", json.dumps({**llama, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}}).encode())
put("config", "mistral", json.dumps({**llama, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4096}).encode())
put("config", "qwen2", json.dumps({**llama, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}).encode())

texts = root / "tests" / "data" / "text"
for tokenizer in [*texts.glob("*/tokenizer.json"), *texts.glob("*/tokenizer.model")]:
    put("tokenizer", tokenizer.parent.name, tokenizer.read_bytes())
for i, case in enumerate(json.loads((texts / "chat_templates.json").read_text())["cases"]):
    put("chat_template", str(i), case["template"].encode())
