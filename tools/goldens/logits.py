#!/usr/bin/env python3
"""Makes tests/data/logits: a tiny random model of every architecture, and the logits that transformers computes.

Usage: tools/goldens/logits.py [tests/data/logits]        (needs torch, transformers, safetensors)

Weights are scaled so that activations and logits are of order 1 and attention is far from uniform: with transformers'
own initialization the logits would be so small that no tolerance could fail. Weights are stored in 16 bits for most
models (exact in binary32, which is what transformers runs in) to keep the files small.
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

VOCAB, HIDDEN, PROMPT = 200, 64, 40
COMMON = dict(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              intermediate_size=96, max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
T = transformers

# name: (config class, its arguments, stored type, legacy spelling of the rotary parameters in config.json)
MODELS = {
    "llama": (T.LlamaConfig, dict(tie_word_embeddings=False, intermediate_size=64, vocab_size=160), torch.float32, True),
    "llama-tied": (T.LlamaConfig, dict(tie_word_embeddings=True, num_key_value_heads=4, num_hidden_layers=3, intermediate_size=64),
                   torch.bfloat16, False),
    "llama-bias": (T.LlamaConfig, dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True), torch.float16,
                   False),
    "llama-rope-llama3": (T.LlamaConfig, dict(
        tie_word_embeddings=True, rope_parameters=dict(
            rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=64)), torch.bfloat16, False),
    "llama-rope-llama3-legacy": (T.LlamaConfig, dict(
        tie_word_embeddings=True, rope_parameters=dict(
            rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=128)), torch.bfloat16, True),
    "llama-rope-linear": (T.LlamaConfig, dict(
        tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        torch.float16, True),
    "mistral-window": (T.MistralConfig, dict(tie_word_embeddings=False, sliding_window=7, head_dim=16), torch.bfloat16,
                       True),
    "qwen2": (T.Qwen2Config, dict(tie_word_embeddings=True, rope_parameters=dict(
        rope_type="default", rope_theta=1000000.0)), torch.bfloat16, True),
    "qwen3": (T.Qwen3Config, dict(tie_word_embeddings=False, head_dim=24), torch.bfloat16, False),
}


def randomize(model, generator, dtype):
    for name, p in model.named_parameters():
        random = torch.randn(p.shape, generator=generator)
        if "norm" in name:
            p.data = 1 + 0.2 * random
        elif name.endswith("bias"):
            p.data = 0.3 * random
        elif "embed_tokens" in name:
            p.data = random / 4  # tied to the head: logits of the order of sqrt(64)/4
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
            p.data = gain * random / p.shape[1] ** 0.5
        p.data = p.data.to(dtype).to(torch.float32)


def legacy_rope(config):
    """As transformers up to 4 wrote it."""
    rope = config.pop("rope_parameters", None) or {}
    config["rope_theta"] = rope.pop("rope_theta", 10000.0)
    kind = rope.get("rope_type", "default")
    config["rope_scaling"] = None if kind == "default" else rope
    config["torch_dtype"] = config.pop("dtype", "float32")


def make(name, folder):
    config_class, arguments, dtype, legacy = MODELS[name]
    config = config_class(**{**COMMON, **arguments})
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = T.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(sum(name.encode()))
    randomize(model, generator, dtype)
    model.eval()
    tokens = torch.randint(0, config.vocab_size, (1, PROMPT), generator=generator)
    with torch.no_grad():
        logits = model(tokens).logits[0]
    print(f"{name}: logits {logits.std():.2f} std, {logits.abs().max():.2f} max")

    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.data.to(dtype).contiguous() for n, p in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"tokens": tokens[0].to(torch.int32), "logits": logits.contiguous()}, folder / "expected.safetensors")
    data = config.to_diff_dict()
    data["architectures"] = [type(model).__name__]
    data["dtype"] = str(dtype).removeprefix("torch.")
    if legacy:
        legacy_rope(data)
    (folder / "config.json").write_text(json.dumps(data, indent=1) + "\n")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/logits")
    for name in MODELS:
        make(name, root / name)


main()
