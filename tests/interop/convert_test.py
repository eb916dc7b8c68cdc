#!/usr/bin/env python3
"""lowbit convert against llama.cpp's converter and transformers: tiny models of every architecture, and the real ones.

Each model becomes a GGUF file twice, F16: every tensor's bytes and every metadata key must be equal, but for the keys
that docs/gguf-metadata.md lists. Then the model goes to GGUF and back in its own type, and transformers must compute
the same logits, bit for bit, from the directory that comes out as from the one that went in.
"""
import pathlib
import tempfile

import peers

MAKE = """
import json, pathlib, shutil, sys, torch, transformers as T
out, tokenizer_from = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
spm = pathlib.Path(sys.argv[3]) / "tests/data/text/sentencepiece"
common = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
              max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
llama3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
models = {
    "llama": (T.LlamaConfig, dict(tie_word_embeddings=False), torch.bfloat16, "200KB"),
    "llama-tied": (T.LlamaConfig, dict(tie_word_embeddings=True, num_key_value_heads=4), torch.float16, "5GB"),
    "llama-rope-llama3": (T.LlamaConfig, dict(tie_word_embeddings=True, rope_parameters=llama3), torch.bfloat16, "5GB"),
    "llama-rope-linear": (T.LlamaConfig, dict(tie_word_embeddings=True, rope_parameters=dict(
        rope_type="linear", rope_theta=10000.0, factor=4.0)), torch.float32, "5GB"),
    "llama-spm": (T.LlamaConfig, dict(tie_word_embeddings=False), torch.float16, "5GB"),
    "mistral": (T.MistralConfig, dict(tie_word_embeddings=False, sliding_window=7, head_dim=16), torch.bfloat16, "1MB"),
    "qwen2": (T.Qwen2Config, dict(tie_word_embeddings=True), torch.bfloat16, "5GB"),
    "qwen3": (T.Qwen3Config, dict(tie_word_embeddings=False, head_dim=24), torch.bfloat16, "5GB"),
}
for name, (kind, more, dtype, shard) in models.items():
    torch.manual_seed(len(name))
    sentencepiece = name in ("llama-spm", "mistral")
    source = spm if sentencepiece else tokenizer_from
    if sentencepiece:
        import sentencepiece as S
        vocab = S.SentencePieceProcessor(model_file=str(spm / "tokenizer.model")).vocab_size()
    else:
        vocab = json.loads((tokenizer_from / "config.json").read_text())["vocab_size"]
    model = T.AutoModelForCausalLM.from_config(kind(**{**common, "vocab_size": vocab, **more}), dtype=dtype)
    for key, p in model.named_parameters():
        p.data = ((1 if "norm" in key else 0) + torch.randn(p.shape) * (0.2 if p.dim() < 2 else p.shape[1] ** -0.5)).to(dtype)
    model.save_pretrained(out / name, max_shard_size=shard)
    for file in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / file).exists():
            shutil.copy(source / file, out / name)
print(json.dumps(list(models)))
"""

# transformers gives Qwen models its own pre-tokenizer, whatever tokenizer.json says; with this vocabulary the converter
# would not know it. So it is told which one the file has.
THEIR_CONVERT = """
import runpy, sys
script = sys.argv[1]
sys.path.insert(0, script.rsplit("/", 1)[0])
from conversion import base
known = base.TextModel.get_vocab_base_pre
base.TextModel.get_vocab_base_pre = lambda self, t: "smollm" if "qwen" in str(self.dir_model) else known(self, t)
sys.argv = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""

COMPARE = """
import json, sys
import numpy as np
from gguf import GGUFReader
ours, theirs = GGUFReader(sys.argv[1]), GGUFReader(sys.argv[2])
a, b = {t.name: t for t in ours.tensors}, {t.name: t for t in theirs.tensors}
tensors = [n for n in sorted(set(a) | set(b)) if n not in a or n not in b or a[n].tensor_type != b[n].tensor_type
           or list(a[n].shape) != list(b[n].shape) or a[n].data.tobytes() != b[n].data.tobytes()]
def keys(reader):
    return {k: (f.types[0].name, f.contents()) for k, f in reader.fields.items() if not k.startswith("GGUF.")}
a, b = keys(ours), keys(theirs)
different = [k for k in sorted(set(a) | set(b)) if a.get(k) != b.get(k)]
print(json.dumps({"count": len(theirs.tensors), "tensors": tensors, "keys": different,
                  "values": {k: [str(a.get(k))[:90], str(b.get(k))[:90]] for k in different}}))
"""

LOGITS = """
import json, os, sys, torch, transformers
def logits(path):
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.arange(3, 43)[None]).logits
a, b = logits(sys.argv[1]), logits(sys.argv[2])
text = "Hello, world! 12345 naïve 世界\\n\\n  def f(x): return x"
if os.path.exists(sys.argv[1] + "/tokenizer.model"):  # the library itself: transformers' own reading of it differs
    import sentencepiece
    wanted = [1] + sentencepiece.SentencePieceProcessor(model_file=sys.argv[1] + "/tokenizer.model").encode(text)
else:
    wanted = transformers.AutoTokenizer.from_pretrained(sys.argv[1])(text).input_ids
got = transformers.AutoTokenizer.from_pretrained(sys.argv[2])(text).input_ids
print(json.dumps({"largest": (a - b).abs().max().item(), "scale": a.abs().max().item(), "ids": wanted == got}))
"""

# docs/gguf-metadata.md tells why.
MAY_DIFFER = {"general.name", "general.basename", "general.size_label", "general.version", "general.finetune",
              "general.license", "general.tags", "general.languages", "llama.attention.sliding_window",
              "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_space_prefix"}


def converter(llama):
    found = sorted((llama / "src").rglob("convert_hf_to_gguf.py"))
    return found[0] if found else peers.skip(f"{llama} has no convert_hf_to_gguf.py")


def compare(checks, script, name, source, scratch):
    ours, theirs, again = scratch / "ours.gguf", scratch / "theirs.gguf", scratch / "again.gguf"
    peers.run(peers.python(), "-c", THEIR_CONVERT, script, source, "--outfile", theirs, "--outtype", "f16")
    peers.run(peers.LOWBIT, "convert", source, ours, "--type", "F16")
    r = peers.python_json(COMPARE, ours, theirs)
    checks.true(f"{name}: {r['count']} tensors bit-identical {r['tensors'] or ''}", not r["tensors"])
    unexpected = {k: r["values"][k] for k in r["keys"] if k not in MAY_DIFFER}
    checks.true(f"{name}: metadata equal {unexpected or ''}", not unexpected)
    back = scratch / f"{name}-back"
    peers.run(peers.LOWBIT, "convert", source, again)
    peers.run(peers.LOWBIT, "convert", again, back)
    r = peers.python_json(LOGITS, source, back)
    checks.true(f"{name}: logits after GGUF and back differ by {r['largest']:.3g} (of {r['scale']:.3g})", r["largest"] == 0)
    checks.true(f"{name}: the same token ids after GGUF and back", r["ids"])


def main():
    models, script = peers.models(), converter(peers.llama_cpp())
    checks = peers.Checks()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name in peers.python_json(MAKE, scratch / "tiny", models / "smollm2-135m", peers.source()):
            compare(checks, script, name, scratch / "tiny" / name, scratch)
        for name in ("smollm2-135m-768", "smollm2-135m"):
            compare(checks, script, name, models / name, scratch)
    checks.finish()


main()
