#!/usr/bin/env python3
"""Quantized directories both ways: ours loaded by their real readers, and the peers' own read by us.

For each, perplexity on the same tokens (binary32 where the reader can) agrees within 1 %. LOWBIT_DIALECTS narrows the
list (names of schemes and of peers' files), LOWBIT_CHUNKS (default 16) the text. Peers: transformers with bitsandbytes
and accelerate, compressed-tensors, gptqmodel; hqq. One that is not installed is named and left out: where they cannot
share an environment, run the test with each.
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
    "w8a8": "compressed_tensors", "w8a8-static": "compressed_tensors", "hqq-4bit-64g": "hqq",
    "hqq-8bit-64g": "hqq", "hqq-3bit-64g": "hqq",
}
# What is tested is the format: the rounding need not be the best, which takes many minutes.
QUICKLY = {"gptq": ("--samples", "8", "--length", "128"), "awq": ("--transform", "none")}
# One scale for all activations of a matrix leaves most of them a few codes, and rounding errors grow with each layer: over
# all 30 the reader's own result moves by 6 % if its weights are rounded to BF16. The model is cut short for these.
FIRST_LAYERS = {"w8a8-static": 3}
THEIRS = {
    "bnb-nf4": "bitsandbytes", "bnb-nf4-dq": "bitsandbytes", "bnb-fp4": "bitsandbytes",
    "bnb-int8-theirs": "bitsandbytes",
    "ct-w4a16": "compressed_tensors", "ct-w4a16-asym": "compressed_tensors", "ct-w8a8": "compressed_tensors",
    "hqq-4": "hqq", "hqq-3": "hqq", "gptqmodel-rtn-sym": "gptqmodel", "gptqmodel-rtn-asym": "gptqmodel",
    "gptqmodel-rtn-awq": "gptqmodel",
}

SCORE = """
import json, sys, torch, transformers
path, reader, text_path, chunks, what = sys.argv[1:]
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
def load_compressed_tensors():
    from compressed_tensors.quantization.lifecycle import forward
    def as_vllm(value, *ignored, **more):
        # vLLM's kernels, which run such files, take a token's greatest magnitude / 127 for its scale, as lowbit does;
        # the package's own simulation of them takes / 127.5, which moves perplexity by 1 %.
        scale = value.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 127
        return scale, torch.zeros_like(scale, dtype=torch.int8)
    forward.compute_dynamic_scales_and_zp = as_vllm
    more = {}
    config = json.load(open(path + "/config.json"))["quantization_config"]
    if not config["config_groups"]["group_0"]["weights"]["symmetric"]:
        # Left compressed, transformers (5.24) makes a place for zero points that are not packed, and refuses those that
        # are, also in files that the package itself has written.
        more["quantization_config"] = transformers.CompressedTensorsConfig(dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map="cpu", **more)
def load_gptqmodel():
    # Its products on a CPU are of 16-bit floats, which alone moves perplexity by 0.7 %: the weights are as it reads
    # them, the products in binary32.
    from gptqmodel import BACKEND, GPTQModel
    model = GPTQModel.load(path, device="cpu", dtype=torch.float16, backend=BACKEND.TORCH).model
    for name, layer in [(n, m) for n, m in model.named_modules() if hasattr(m, "qweight")]:
        parent, leaf = name.rsplit(".", 1)
        dense = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        if hasattr(layer, "dequantize_weight"):
            weight = layer.dequantize_weight()
        else:  # AWQ
            weight = layer._dequantize_weight_for_inference(torch.empty(0), dtype=torch.float16)
        dense.weight.data = weight.t().float().contiguous()
        setattr(model.get_submodule(parent), leaf, dense)
    return model.float()
if reader == "hqq":
    model = load_hqq()
elif reader == "compressed_tensors":
    model = load_compressed_tensors()
elif reader == "gptqmodel":
    model = load_gptqmodel()
else:
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, device_map="cpu")
if what == "weights":
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
model_path, name, out = sys.argv[1:]
transformers.logging.set_verbosity_error()
def save(pieces_of, quantization_config):
    from safetensors.torch import save_file
    model = transformers.AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    tensors, done = {}, set()
    for n, m in model.named_modules():
        if isinstance(m, torch.nn.Linear) and n != "lm_head":
            tensors |= {f"{n}.{k}": v.detach().contiguous().clone() for k, v in pieces_of(m).items() if v is not None}
            done.add(n)
    tensors |= {k: v.contiguous().clone() for k, v in model.state_dict().items()
                if k.rsplit(".", 1)[0] not in done and k != "lm_head.weight"}
    os.makedirs(out, exist_ok=True)
    save_file(tensors, out + "/model.safetensors", metadata={"format": "pt"})
    config_json = json.load(open(model_path + "/config.json"))
    json.dump({**config_json, "quantization_config": quantization_config}, open(out + "/config.json", "w"))
if name.startswith("bnb"):
    kind = name.split("-")[1]
    config = (transformers.BitsAndBytesConfig(load_in_8bit=True) if kind == "int8" else transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=name.endswith("-dq"),
        bnb_4bit_compute_dtype=torch.bfloat16))
    transformers.AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.bfloat16, quantization_config=config, device_map="cpu").save_pretrained(out)
elif name.startswith("hqq"):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    config = BaseQuantizeConfig(nbits=int(name.split("-")[1]), group_size=64, axis=1)
    def pieces(linear):
        quantized = HQQLinear(linear, quant_config=config, compute_dtype=torch.float32, device="cpu", del_orig=False)
        return quantized.state_dict()
    save(pieces, {"quant_method": "hqq", "quant_config": dict(config), "skip_modules": ["lm_head"]})
elif name.startswith("ct"):
    from compressed_tensors.compressors import IntQuantizationCompressor, PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    of_8_bits = name == "ct-w8a8"
    weights = QuantizationArgs(num_bits=8 if of_8_bits else 4, symmetric=not name.endswith("asym"),
                               strategy="channel" if of_8_bits else "group", group_size=None if of_8_bits else 128)
    inputs = QuantizationArgs(num_bits=8, symmetric=True, strategy="token", dynamic=True) if of_8_bits else None
    scheme = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)
    def pieces(linear):
        groups = linear.weight.detach().unflatten(1, (-1, weights.group_size or linear.in_features))
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), weights)
        dense = {"weight": linear.weight.detach(), "weight_scale": scale.bfloat16(), "weight_zero_point": zero}
        return (IntQuantizationCompressor if of_8_bits else PackedQuantizationCompressor).compress(dense, scheme)
    save(pieces, {"quant_method": "compressed-tensors", "format": "int-quantized" if of_8_bits else "pack-quantized",
                  "quantization_status": "compressed", "ignore": ["lm_head"],
                  "config_groups": {"group_0": json.loads(scheme.model_dump_json())}})
else:
    model_path, out = os.path.abspath(model_path), os.path.abspath(out)
    os.chdir(os.path.dirname(out))  # it writes its log to where it runs
    from gptqmodel import GPTQModel
    from gptqmodel.quantization.config import RTNConfig
    model = GPTQModel.load(model_path, RTNConfig(bits=4, group_size=128, sym=name.endswith("-sym"),
                                                format="gemm" if name.endswith("awq") else "gptq"),
                           dtype=torch.bfloat16, device="cpu")
    model.quantize(None)
    model.save(out)
for file in ("tokenizer.json", "tokenizer_config.json"):
    if not os.path.exists(f"{out}/{file}"):
        shutil.copy(f"{model_path}/{file}", out)
print("{}")
"""

CUT = """
import json, shutil, sys
from safetensors.torch import load_file, save_file
model, out, layers = sys.argv[1], sys.argv[2], int(sys.argv[3])
shutil.copytree(model, out)
tensors = load_file(model + "/model.safetensors")
kept = {k: v for k, v in tensors.items() if not k.startswith("model.layers.") or int(k.split(".")[2]) < layers}
save_file(kept, out + "/model.safetensors", metadata={"format": "pt"})
config = json.load(open(out + "/config.json"))
json.dump({**config, "num_hidden_layers": layers}, open(out + "/config.json", "w"))
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


def compare(checks, what, ours, theirs, reader, text, part="all"):
    theirs = math.exp(peers.python_json(SCORE, theirs, reader, text, CHUNKS, part)["nll"])
    ours = peers.lowbit_json("eval", ours, "--text", text, "--chunks", CHUNKS, "--hf")
    checks.near(f"{what}, read by {reader}", ours["perplexity"], theirs, relative=0.01)


def compare_weights(checks, name, folder, reader, text):
    """Without the rounding of activations that the file asks for: LLM.int8's would hide small differences."""
    dense = folder.parent / "dense"
    peers.lowbit_json("convert", folder, dense)
    compare(checks, f"{name} perplexity by its weights alone", dense, folder, reader, text, "weights")


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
            folder, original = pathlib.Path(scratch) / "quantized", model
            try:
                if name in FIRST_LAYERS:
                    original = pathlib.Path(scratch) / "short"
                    peers.python_json(CUT, model, original, FIRST_LAYERS[name])
                if name in OURS:
                    peers.lowbit_json("quantize", original, folder, name, *QUICKLY.get(name.split("-")[0], ()))
                else:
                    peers.python_json(MAKE, model, name, folder)
                compare(checks, f"{name} perplexity", folder, folder, reader, text)
                if "int8" in name:
                    compare_weights(checks, name, folder, reader, text)
            except SystemExit as refusal:
                checks.true(f"{name}, read by {reader}: {str(refusal)[-300:]}", False)
    if not chosen or "eetq" in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            peers.lowbit_json("quantize", model, scratch + "/eetq", "eetq")
            steps = peers.python_json(EETQ, scratch + "/eetq", model, "model.layers.3.mlp.down_proj")["steps"]
            checks.true(f"eetq: 99 % of weights within half a step of the original's ({steps:.3f})", steps <= 0.501)
    checks.finish()


main()
