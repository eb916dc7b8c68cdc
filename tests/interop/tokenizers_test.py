#!/usr/bin/env python3
"""Token ids against the real peers: llama.cpp's own vocabulary tests (src/models/ggml-vocab-*.gguf with .inp and .out),
and the `tokenizers` library on a Hugging Face directory, on the GGUF that lowbit makes of it, and on tokenizers of several
kinds trained on the spot."""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import peers

SEPARATOR = b"\n__ggml_vocab_test__\n"
LIBRARY = """
import json, sys, tokenizers
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
text = open(sys.argv[2], 'rb').read().decode(errors='replace')
print(json.dumps(tokenizer.encode(text, add_special_tokens=False).ids))
"""

TRAIN = r"""
import json, pathlib, sys
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
out, text = pathlib.Path(sys.argv[1]), sys.argv[2]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
byte_level = lambda **kw: pre_tokenizers.ByteLevel(add_prefix_space=False, **kw)
KINDS = {  # name: (normalizer, pre-tokenizer, byte fallback)
    "gpt2": (None, byte_level(), False),
    "digits": (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]), False),
    "llama3": (None, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level(use_regex=False)]),
               False),
    "nfc": (normalizers.NFC(), pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                                       byte_level(use_regex=False)]), False),
    "prepend": (normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None, True),
    "metaspace": (None, pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False), True),
}
for name, (normalizer, pre_tokenizer, fallback) in KINDS.items():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True) if fallback else models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    # Without a pre-tokenizer the trainer would see whole lines as words: it learns on words, the ids are made without.
    learn = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(replacement="\u2581", split=True)]) if fallback else pre_tokenizer
    tokenizer.pre_tokenizer = learn
    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)] if fallback else []
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=special + bytes_, show_progress=False,
                                  initial_alphabet=[] if fallback else pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([text], trainer)
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [t for t in saved["added_tokens"] if t["content"] not in bytes_]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    if fallback:
        saved["pre_tokenizer"] = None
        tokenizer = Tokenizer.from_str(json.dumps(saved))
        if pre_tokenizer is not None:
            tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel() if not fallback else decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    (out / name).mkdir()
    tokenizer.save(str(out / name / "tokenizer.json"))
    (out / name / "tokenizer_config.json").write_text("{}")
print("trained:", *KINDS)
"""


def lowbit_ids(model, text, *options):
    return peers.lowbit_json("tokenize", model, "--text", text, *options)["ids"]


def vocabulary_tests(scratch):
    """llama.cpp's tests add no special tokens and read none in the text."""
    failed = passed = refused = 0
    for vocabulary in sorted((peers.llama_cpp() / "src" / "models").glob("ggml-vocab-*.gguf")):
        inputs = pathlib.Path(f"{vocabulary}.inp")
        if not inputs.exists():
            continue
        if any(kind in vocabulary.name for kind in ("bert", "nomic")):  # WPM and UGM
            done = subprocess.run([peers.LOWBIT, "tokenize", vocabulary, "-p", "x"], capture_output=True)
            assert done.returncode and b"tokenizer.ggml.model" in done.stderr, done
            refused += 1
            continue
        texts = inputs.read_bytes().split(SEPARATOR)[:-1]
        wanted = pathlib.Path(f"{vocabulary}.out").read_text().split("\n")
        bad = 0
        for text, line in zip(texts, wanted):
            file = scratch / "text"
            file.write_bytes(text)
            ids = lowbit_ids(vocabulary, file, "--no-special") if text else []
            if ids != [int(word) for word in line.split()]:
                bad += 1
                print(f"  {vocabulary.name}: {text!r}: {ids} instead of {line}")
        print(f"{vocabulary.name}: {len(texts) - bad} of {len(texts)}")
        passed += len(texts) - bad
        failed += bad
    print(f"llama.cpp's vocabulary tests: {passed} passed, {failed} failed; {refused} vocabularies of other kinds refused")
    return failed


def texts():
    draw = random.Random(1)
    wiki = (peers.data() / "wiki.test.raw").read_bytes()
    yield "wiki.test.raw", wiki
    yield "a million times a", b"a" * 1000000
    yield "spaces", b" " * 20000
    yield "Chinese", "人类社会的发展离不开科学技术。今天天气很好！１２３ ①②Ⅳ 〇 ひらがなカタカナ한국어".encode() * 20
    yield "emoji", "🚀 😶‍🌫️ 🦙🦙 👨‍👩‍👧‍👦 🇩🇪 \u180e x\u00a0y\u2003z ſ 'ſ K".encode() * 20
    yield "code", pathlib.Path(__file__).read_bytes()
    yield "random bytes", bytes(draw.randrange(256) for _ in range(100000))
    yield "white space", "".join(draw.choice(" \t\n\r\x0b\x85\u00a0\u180e\u2028\u3000ab1'sS.") for _ in range(20000)).encode()
    yield "not UTF-8", b"\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80\xe2\x82 \xf0\x9f\x98 \xff"
    yield "special tokens", b"<|im_start|>user\nhi <|im_end|> <|endoftext|>x <|im_start </s> a\0b"


def differences(scratch, folder, *others):
    """Texts on which the directory, or another form of its tokenizer, gives other ids than the library."""
    failed = 0
    for what, text in texts():
        file = scratch / "text"
        file.write_bytes(text)
        wanted = json.loads(peers.run(peers.python(), "-c", LIBRARY, folder / "tokenizer.json", file))
        for model in (folder, *others):
            equal = lowbit_ids(model, file) == wanted
            failed += not equal
            print(f"{model.name}, {what}: {len(wanted)} ids {'equal' if equal else 'DIFFER'}", flush=True)
    return failed


def library_tests(scratch):
    failed = 0
    for name in ("smollm2-135m", "smollm2-135m-768"):
        gguf = scratch / f"{name}.gguf"
        peers.run(peers.LOWBIT, "convert", peers.models() / name, gguf)
        failed += differences(scratch, peers.models() / name, gguf)
    trained = scratch / "trained"
    trained.mkdir()
    print(peers.run(peers.python(), "-c", TRAIN, trained, peers.data() / "wiki.valid.txt"))
    for folder in sorted(trained.iterdir()):
        failed += differences(scratch, folder)
    return failed


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        wrong = vocabulary_tests(pathlib.Path(temporary)) + library_tests(pathlib.Path(temporary))
    sys.exit(1 if wrong else 0)
