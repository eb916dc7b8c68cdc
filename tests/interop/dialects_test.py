#!/usr/bin/env python3
"""Quantized directories both ways: ours loaded by their real readers, and the peers' own read by us.

For each, perplexity on the same tokens (binary32 where the reader can) agrees within 1 %. LOWBIT_DIALECTS narrows the
list (names of schemes and of peers' files), LOWBIT_CHUNKS (default 16) the text. Peers: transformers with bitsandbytes,
compressed-tensors and gptqmodel; hqq. One that is not installed is named and left out.
"""
import math
import os
import pathlib
import tempfile

import peers

CHUNKS = os.environ.get("LOWBIT_CHUNKS", "16")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Scheme -> who reads it.
OURS = {
    "gptq-4bit-128g": "gptqmodel", "gptq-4bit-128g-asym": "gptqmodel", 
    "gptq-8bit-128g": "gptqmodel", "gptq-3bit-64g-asym": "gptqmodel", "awq-4bit-128g": "gptqmodel",
    "nf4": "bitsandbytes", "nf4-dq": "bitsandbytes", "fp4": "bitsandbytes", "bnb-int8": "bitsandbytes",
    "w4a16": "compressed_tensors", "w4a16-asym": "compressed_tensors", "w8a16": "compressed_tensors",
    "w8a8": "compressed_tensors", "hqq-4bit-64g": "hqq", "hqq-8bit-64g": "hqq", "hqq-3bit-64g": "hqq",
}
THEIRS = {
    "bnb-nf4": "bitsandbytes", "bnb-nf4-dq": "bitsandbytes", "bnb-fp4": "bitsandbytes", "bnb-int8-theirs": "bitsandbytes",
    "hqq-4": "hqq", "hqq-3": "hqq", "gptqmodel-rtn-sym": "gptqmodel", "gptqmodel-rtn-asym": "gptqmodel",
}

SCORE = """
import json, sys, torch, transformers
path, reader, text_path, chunks = sys.argv[1:]
transformers.logging.set_verbosity_error()
def load_hqq():
    from hqq.core.quantize import HQQLinear
    from safetensors.torch import load_file
    config = transformers.AutoConfig.from_pretrained(path)
    del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tensors = load_file(path + "/model.safetensors")
    for name in [k[:-4] for k in tensors if k.endswith(".W_q")]:
        parent, leaf = name.rsplit(".", 1)
        layer = HQQLinear(None, None, compute_dtype=torch.float32, device="cpu", initialize=False)
        layer.load_state_dict({k[len(name) + 1:]: tensors.pop(k) for k in list(tensors) if k.startswith(name + ".")})
        layer.compute_dtype = torch.float32
        setattr(model.get_submodule(parent), leaf, layer)
    model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    model.tie_weights()
    return model
if reader == "hqq":
    model = load_hqq()
elif reader == "gptqmodel":
    from gptqmodel import GPTQModel
    model = GPTQModel.load(path, device="cpu", dtype=torch.bfloat16).model
else:
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map="cpu")
if getattr(model, "is_loaded_in_8bit", False):
    # LLM.int8's own products round whole rows of activations to 8 bits: only the weights are compared.
    model = (model.dequantize() or model).float()
model.eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(path)
text = open(text_path, encoding="utf-8", newline="").read()
ids = tokenizer(text, return_tensors="pt", verbose=False, add_special_tokens=False).input_ids[0]
losses = []
with torch.no_grad():
    for i in range(int(chunks)):
        chunk = ids[None, i * 512:(i + 1) * 512]
        logits = model(chunk, use_cache=False).logits[0, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, chunk[0, 1:]).item())
print(json.dumps({"nll": sum(losses) / len(losses)}))
"""

MAKE = """
import json, os, shutil, sys, torch, transformers
model_path, name, out, text_path = sys.argv[1:]
transformers.logging.set_verbosity_error()
if name.startswith("bnb"):
    kind = name.split("-")[1]
    config = (transformers.BitsAndBytesConfig(load_in_8bit=True) if kind == "int8" else transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=name.endswith("-dq"),
        bnb_4bit_compute_dtype=torch.bfloat16))
    transformers.AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.bfloat16, quantization_config=config, device_map="cpu").save_pretrained(out)
elif name.startswith("hqq"):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from safetensors.torch import save_file
    model = transformers.AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    config = BaseQuantizeConfig(nbits=int(name.split("-")[1]), group_size=64, axis=1)
    tensors, done = {}, set()
    for n, m in model.named_modules():
        if isinstance(m, torch.nn.Linear) and n != "lm_head":
            layer = HQQLinear(m, quant_config=config, compute_dtype=torch.float32, device="cpu", del_orig=False)
            tensors |= {f"{n}.{k}": v.detach().contiguous().clone() for k, v in layer.state_dict().items() if v is not None}
            done.add(n)
    tensors |= {k: v.contiguous().clone() for k, v in model.state_dict().items()
                if k.rsplit(".", 1)[0] not in done and k != "lm_head.weight"}
    os.makedirs(out, exist_ok=True)
    save_file(tensors, out + "/model.safetensors", metadata={"format": "pt"})
    config_json = json.load(open(model_path + "/config.json"))
    config_json["quantization_config"] = {"quant_method": "hqq", "quant_config": dict(config), "skip_modules": ["lm_head"]}
    json.dump(config_json, open(out + "/config.json", "w"))
else:
    from gptqmodel import GPTQModel
    from gptqmodel.quantization.config import RTNConfig
    model = GPTQModel.load(model_path, RTNConfig(bits=4, group_size=128, sym=not name.endswith("asym"), format="gptq"),
                           dtype=torch.bfloat16, device="cpu")
    model.quantize(None)
    model.save(out)
for file in ("tokenizer.json", "tokenizer_config.json"):
    if not os.path.exists(f"{out}/{file}"):
        shutil.copy(f"{model_path}/{file}", out)
print("{}")
"""

# EETQ's permutation undone by its definition (rows of 16, columns in pairs of 64-row tiles, bytes 1 and 2 of four).
EETQ = """
import json, sys, torch
from safetensors.torch import load_file
ours, original, name = sys.argv[1:]
tensors = load_file(ours + "/model.safetensors")
stored, scales = tensors[name + ".weight"], tensors[name + ".weight_scales"].float()
k, n = stored.shape
flat = stored.reshape(-1).view(torch.uint8).reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1).to(torch.int64) - 128
columns = flat.reshape(n // 2, k // 64, 2, 64).permute(0, 2, 1, 3).reshape(n, k)
order = [8 * ((t % 4) // 2) + t % 2 + 2 * (t // 4) for t in range(16)]
back = torch.empty_like(columns)
for t in range(16):
    back[:, order[t]::16] = columns[:, t::16]
weight = load_file(original + "/model.safetensors")[name + ".weight"].float()
error = (back.float() * scales[:, None] - weight).abs() / scales[:, None]
print(json.dumps({"steps": error.quantile(0.99).item() if error.numel() < 1e7 else error.max().item()}))
"""


def installed(package):
    return peers.python_json("import importlib.util, json, sys; "
                             "print(json.dumps(importlib.util.find_spec(sys.argv[1]) is not None))", package)


def compare(checks, name, folder, reader, text):
    theirs = math.exp(peers.python_json(SCORE, folder, reader, text, CHUNKS)["nll"])
    if "int8" in name:  # the weights alone, as in SCORE: run as it asks, LLM.int8 rounds activations a token
        dense = folder.parent / "dense"
        peers.lowbit_json("convert", folder, dense)
        folder = dense
    ours = peers.lowbit_json("eval", folder, "--text", text, "--chunks", CHUNKS, "--hf")
    checks.near(f"{name} perplexity, read by {reader}", ours["perplexity"], theirs, relative=0.01)


def main():
    model, text = peers.models() / "smollm2-135m-768", peers.data() / "wiki.test.raw"
    chosen = os.environ.get("LOWBIT_DIALECTS", "").split()
    checks = peers.Checks()
    present = {reader: installed(reader) for reader in {*OURS.values(), *THEIRS.values()}}
    for reader, there in present.items():
        if not there:
            print(f"left out: {reader} is not installed")
    for name, reader in {**OURS, **THEIRS}.items():
        if not present[reader] or (chosen and name not in chosen):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch) / "quantized"
            try:
                if name in OURS:
                    peers.lowbit_json("quantize", model, folder, name)
                else:
                    peers.python_json(MAKE, model, name, folder, text)
                compare(checks, name, folder, reader, text)
            except SystemExit as refusal:
                checks.true(f"{name}, read by {reader}: {str(refusal)[-300:]}", False)
    if not chosen or "eetq" in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            peers.lowbit_json("quantize", model, scratch + "/eetq", "eetq")
            steps = peers.python_json(EETQ, scratch + "/eetq", model, "model.layers.3.mlp.down_proj")["steps"]
            checks.true(f"eetq: 99 % of weights within half a step of the original's ({steps:.3f})", steps <= 0.501)
    checks.finish()


main()
