#!/usr/bin/env python3
"""Writes tests/data/text/: tiny tokenizers trained by the `tokenizers` and `sentencepiece` libraries, one a folder, and
the ids that the libraries give for nasty strings (ids.json), which tests/text/tokenizer_test.cc compares with.

    pip install tokenizers sentencepiece && tools/goldens/tokenizer_ids.py
"""

import json
import pathlib
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

root = pathlib.Path(__file__).resolve().parents[2]
folder = root / "tests" / "data" / "text"
corpus = (root / "tools" / "demo-text" / "wikitext2-excerpt.txt").read_text().split("\n")[:120]
corpus += ["def f(x):\n    return x[1:] == 'a' # 12345", "Größe café naïve", "今天天气很好", "I'll we've THEY'RE it's"] * 5

STRINGS = [
    b"", b" ", b"  ", b"a", b"Hello world", b" Hello  World!!", b"it's we'Ve I'LL 'sS", b"x=12345 1.5e-7 \xc2\xb2\xc2\xbd",
    b"\n", b"\r\n\r\n \t\n  x", b"a \n b  \n\n c", "Größe café cafe\u0301 İstanbul ſ 'ſ K".encode(), "今天天气很好！１２".encode(),
    "🚀 😶‍🌫️ 👨‍👩‍👧 \u180e x\u00a0y\u2003z\u3000w\u0085".encode(), "हिन्दी ไทย العربية".encode(), b"a\0b", b"\xff\xfe a \xe2\x82 \xf0\x9f\x98 \xed\xa0\x80",
    b"<s>hi</s> <user>x<user >", b"x <lr>  y<lr>z", b"word xwordx word, WORD", b"<s><s></s", b"<0x41> <unk>",
    "\u2581 a \u2581b".encode(), b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"def f(x):\n    return x[1:] == 'a' # 1,000"]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
ADDED = [AddedToken("<user>", special=False, normalized=False), AddedToken("<lr>", lstrip=True, rstrip=True, special=True),
         AddedToken("word", single_word=True, special=False, normalized=True)]


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **options)


def train(pre_tokenizer, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    is_bytes = not model.get("byte_fallback")
    alphabet = pre_tokenizers.ByteLevel.alphabet() if is_bytes else []
    special = ["<unk>", "<s>", "</s>"] + ([] if is_bytes else [f"<0x{b:02X}>" for b in range(256)])
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=len(special) + 500, special_tokens=special,
                                                              initial_alphabet=alphabet, show_progress=False))
    description = json.loads(tokenizer.to_str())
    if not is_bytes:  # the byte tokens are ordinary ones
        description["added_tokens"] = [t for t in description["added_tokens"] if not t["content"].startswith("<0x")]
        tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.add_tokens([t for t in ADDED if not t.special])
    tokenizer.add_special_tokens([t for t in ADDED if t.special])
    return tokenizer


def split(pattern, behavior, invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def write(name, tokenizer, config):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False,
                                                     separators=(",", ":")) + "\n")
    (place / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    cases = []
    for text in STRINGS:
        case = {"hex": text.hex(), "ids": tokenizer.encode(text.decode(errors="replace")).ids}
        tokenizer.encode_special_tokens = True
        case["plain"] = tokenizer.encode(text.decode(errors="replace"), add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        cases.append(case)
    (place / "ids.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def write_sentencepiece(name):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        (pathlib.Path(scratch) / "corpus").write_text("\n".join(corpus))
        sentencepiece.SentencePieceTrainer.train(
            input=f"{scratch}/corpus", model_prefix=f"{scratch}/m", vocab_size=700, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
        (place / "tokenizer.model").write_bytes(pathlib.Path(f"{scratch}/m.model").read_bytes())
    (place / "tokenizer_config.json").write_text('{"add_bos_token": true, "bos_token": "<s>", "eos_token": "</s>"}\n')
    processor = sentencepiece.SentencePieceProcessor(model_file=str(place / "tokenizer.model"))
    # The library reads no special tokens in a text, and NUL ends its strings.
    cases = [{"hex": t.hex(), "plain": processor.encode(t.decode(errors="replace"))} for t in STRINGS if b"\0" not in t]
    (place / "ids.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


ends = {"bos_token": "<s>", "eos_token": "</s>"}
sequence, gpt2 = pre_tokenizers.Sequence, byte_level(use_regex=False)
write("smollm", train(sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])), ends)
llama3 = train(sequence([split(LLAMA3, "isolated"), gpt2]), ignore_merges=True)
llama3.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                      special_tokens=[("<s>", llama3.token_to_id("<s>"))])
write("llama3", llama3, ends)
write("nfc", train(sequence([split(LLAMA3.replace("{1,3}", ""), "isolated"), gpt2]), normalizers.NFC()), ends)
write("falcon", train(sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False),
                                split("[0-9][0-9][0-9]", "isolated")])), ends)
write("odd", train(sequence([split(r"\s+", "merged_with_next"), split("[aeiou]+", "merged_with_previous"),
                             split(r"\p{P}", "contiguous"), pre_tokenizers.Whitespace(), gpt2]),
                   normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                         normalizers.Strip(), normalizers.Replace(Regex("b+"), "b")])), ends)
write("llama2", train(None, normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
                      unk_token="<unk>", fuse_unk=True, byte_fallback=True), ends)
write("metaspace", train(pre_tokenizers.Metaspace(prepend_scheme="first"), unk_token="<unk>", byte_fallback=True), ends)
write_sentencepiece("sentencepiece")
