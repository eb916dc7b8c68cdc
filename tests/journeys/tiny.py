"""A small random Llama with a byte-level tokenizer, made from nothing but Python's standard library, and how to call lowbit."""
import array
import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile

LOWBIT = os.environ["LOWBIT_BIN"]
SOURCE = pathlib.Path(os.environ["LOWBIT_SOURCE"])
TEXT = SOURCE / "tools/demo-text/wikitext2-excerpt.txt"


def byte_spelling():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spelling = {b: chr(b) for b in plain}
    for b in range(256):
        if b not in spelling:
            spelling[b] = chr(256 + len(spelling) - len(plain))
    return [spelling[b] for b in range(256)]


def write_tokenizer(folder):
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + byte_spelling()
    merges = ["Ġ t", "h e", "Ġt he", "i n", "Ġ a", "e r", "o n"]
    for merge in merges:
        tokens.append(merge.replace(" ", ""))
    special = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i in range(3)]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "GPT2Tokenizer", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>", "add_prefix_space": False,
        "chat_template": "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
                         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}))
    return len(tokens)


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * len(values)]}
        offset += 4 * len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            f.write(values.tobytes())


def make_model(folder, hidden=256, ffn=512, layers=3, heads=4, kv_heads=2, seed=27, more_tokens=0):
    """A Hugging Face directory; hidden=96 gives rows that no k-quant holds. `more_tokens`: rows beyond the tokenizer's."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, draw, head_dim = write_tokenizer(folder) + more_tokens, random.Random(seed), hidden // heads

    def matrix(rows, cols):
        scale = 1.5 / cols ** 0.5
        return [rows, cols], array.array("f", (scale * draw.gauss(0, 1) for _ in range(rows * cols)))

    def norm(n):
        return [n], array.array("f", (1 + 0.1 * draw.gauss(0, 1) for _ in range(n)))

    tensors = {"model.embed_tokens.weight": matrix(vocab, hidden), "model.norm.weight": norm(hidden),
               "lm_head.weight": matrix(vocab, hidden)}
    for i in range(layers):
        p = f"model.layers.{i}."
        tensors |= {p + "input_layernorm.weight": norm(hidden), p + "post_attention_layernorm.weight": norm(hidden),
                    p + "self_attn.q_proj.weight": matrix(hidden, hidden),
                    p + "self_attn.k_proj.weight": matrix(kv_heads * head_dim, hidden),
                    p + "self_attn.v_proj.weight": matrix(kv_heads * head_dim, hidden),
                    p + "self_attn.o_proj.weight": matrix(hidden, hidden),
                    p + "mlp.gate_proj.weight": matrix(ffn, hidden), p + "mlp.up_proj.weight": matrix(ffn, hidden),
                    p + "mlp.down_proj.weight": matrix(hidden, ffn)}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_dim, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": None, "attention_bias": False, "mlp_bias": False, "max_position_embeddings": 2048,
        "vocab_size": vocab, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    return folder


def lowbit(*arguments, code=0, environment=None):
    """Runs lowbit, checks its exit code, and returns (standard output, standard error)."""
    done = subprocess.run([LOWBIT, *map(str, arguments)], capture_output=True, timeout=600,
                          env={**os.environ, **(environment or {})})
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, f"lowbit {' '.join(map(str, arguments))}: exit code {done.returncode}\n{out}\n{err}"
    return out, err


def lowbit_json(*arguments):
    return json.loads(lowbit(*arguments, "--json")[0])


def refused(*arguments, says):
    """The command fails with one line on standard error that says each of `says`, and exit code 1."""
    _, err = lowbit(*arguments, code=1)
    lines = [line for line in err.splitlines() if line.startswith("lowbit: error: ")]
    assert len(lines) == 1, err
    for part in [says] if isinstance(says, str) else says:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"


def scratch():
    return tempfile.TemporaryDirectory(prefix="lowbit-test-")


def small_disk(folder, size="300k"):
    """A file system of so many bytes, or None where that takes rights that we lack."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True)
    return disk if done.returncode == 0 else None
