"""What goes wrong in a user's life: a file cut short or damaged, a download not finished, a full disk, a killed process. Each
ends in one line on standard error and exit code 1, and never with anything under the final name."""
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

from tiny import LOWBIT, TEXT, lowbit, lowbit_json, make_model, refused, scratch, small_disk, write_tokenizer

READERS = [["inspect"], ["tokenize", "-p", "x"], ["run", "-p", "x", "-n", "1"], ["eval", "--text", TEXT, "--chunks", "1", "-c", "64"],
           ["bench"], ["calibrate", "--text", TEXT, "-o", "OUT", "--chunks", "1", "-c", "64"], ["quantize", "OUT", "Q4_K_M", "--allow-requantize"],
           ["convert", "OUT"]]


def all_refuse(model, folder, says, readers=READERS):
    """Every command refuses the model, and leaves the folder of its output empty."""
    for command, *rest in readers:
        out = folder / "out"
        out.mkdir()
        refused(command, model, *[out / "x.gguf" if r == "OUT" else r for r in rest], says=says)
        assert list(out.iterdir()) == [], (command, list(out.iterdir()))
        out.rmdir()


def ends_well(*arguments):
    """The command works, or fails as a program should: never by a signal, never with another exit code."""
    done = subprocess.run([LOWBIT, *map(str, arguments)], capture_output=True, timeout=60)
    errors = [line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line]
    assert (done.returncode, len(errors)) in [(0, 0), (1, 1)], (arguments, done)
    assert "defect of lowbit" not in "".join(errors), done
    return done.returncode == 0


def damaged_gguf(model, folder):
    file = folder / "whole.gguf"
    lowbit("quantize", model, file, "Q4_K_M")
    whole, bad = file.read_bytes(), folder / "bad.gguf"
    bad.write_bytes(whole[:-1])
    all_refuse(bad, folder, ["bad.gguf", "truncated", f"the file has {len(whole) - 1}"])
    for size in [0, 3, 4, 20, 100, 1000, len(whole) // 4, len(whole) // 2]:
        bad.write_bytes(whole[:size])
        all_refuse(bad, folder, "bad.gguf", [["inspect"], ["quantize", "OUT", "Q4_K_M", "--allow-requantize"]])
    header = whole.index(b"blk.2.") + 500  # metadata and the list of tensors; behind it are weights, which no one can check
    draw = random.Random(5)
    readable = 0
    for _ in range(150):
        at = draw.randrange(header)
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1:])
        readable += ends_well("inspect", bad, "--json")
    assert readable < 150
    for _ in range(25):
        at = draw.randrange(header)
        bad.write_bytes(whole[:at] + draw.randbytes(4) + whole[at + 4:])
        ends_well("run", bad, "-p", "x", "-n", "1", "-c", "64")
    bad.write_bytes(b"GGUF" + draw.randbytes(5000))
    all_refuse(bad, folder, "bad.gguf")


def damaged_directory(model, folder):
    bad = folder / "bad"
    shutil.copytree(model, bad)
    weights, whole = bad / "model.safetensors", (model / "model.safetensors").read_bytes()
    weights.write_bytes(whole[:-1])
    all_refuse(bad, folder, ["model.safetensors", "truncated"], [r for r in READERS if r[0] != "tokenize"])
    for content, says in [(b"", "is empty"), (whole[:7], "not a safetensors file"), (whole[:2000], "truncated"),
                          (struct.pack("<Q", 2**63) + whole[8:], "its header claims 9223372036854775808 bytes"),
                          (whole.replace(b'"F32"', b'"F99"', 1), "F99"), (whole.replace(b"model.norm", b"model.form", 1), "model.norm.weight"),
                          (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull")]:
        weights.write_bytes(content)
        all_refuse(bad, folder, says, [["inspect"], ["quantize", "OUT", "Q4_K_M"], ["convert", "OUT"]])
    draw = random.Random(6)
    for _ in range(100):
        at = draw.randrange(3000)
        weights.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1:])
        ends_well("inspect", bad, "--json")

    weights.unlink()
    (bad / "pytorch_model.bin").write_bytes(b"PK\x03\x04 pickled")
    all_refuse(bad, folder, ["pytorch_model.bin", "safetensors"], [["inspect"], ["quantize", "OUT", "Q4_K_M"]])
    (bad / "pytorch_model.bin").unlink()
    (bad / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}))
    all_refuse(bad, folder, ["model-00001-of-00002.safetensors", "missing"], [["inspect"], ["quantize", "OUT", "Q4_K_M"]])
    (bad / "model.safetensors.index.json").unlink()

    weights.write_bytes(whole)
    for name, contents in [("config.json", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"architectures":["A\\nB"]}', b"[" * 100_000]),
                           ("tokenizer.json", [b"", b"{", b"{}", b"\x00", b'{"model":{"type":"BPE","vocab":{"a":99999999},"merges":[]}}'])]:
        original = (bad / name).read_bytes()
        for content in contents:
            (bad / name).write_bytes(content)
            all_refuse(bad, folder, name, [["quantize", "OUT", "Q4_K_M"], ["convert", "OUT"], ["run", "-p", "x", "-n", "1"]])
        (bad / name).unlink()
        all_refuse(bad, folder, name, [["quantize", "OUT", "Q4_K_M"]])
        (bad / name).write_bytes(original)
    assert ends_well("inspect", bad)


def linked_snapshot(model, folder):
    """Hugging Face's cache: snapshots/HASH/* are links to blobs/*."""
    snapshot, blobs = folder / "cache" / "snapshots" / "main", folder / "cache" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(pathlib.Path("../../blobs") / str(number))
    seen = [lowbit_json("inspect", m)["tensors"] for m in (model, snapshot)]
    assert seen[0] == seen[1]


def full_disk(model, folder):
    limited = folder / "limited"
    limited.mkdir()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    jobs = [["quantize", model, "x.gguf", "Q8_0"], ["convert", model, "x.gguf"], ["convert", folder / "whole.gguf", "hf"]]
    for job in jobs:
        done = subprocess.run([LOWBIT, *map(str, job)], capture_output=True, cwd=limited, preexec_fn=limit, timeout=60)
        err = done.stderr.decode()
        assert done.returncode == 1 and err.count("error") == 1 and "File too large" in err, done
        assert not any(f.is_file() for f in limited.rglob("*")), list(limited.rglob("*"))

    disk = small_disk(folder)
    if disk is None:
        print("a full disk: only the limit of a file's size was tried, as mounting a small disk needs root")
        return
    try:
        for job in jobs:
            done = subprocess.run([LOWBIT, *map(str, job)], capture_output=True, cwd=disk, timeout=60)
            err = done.stderr.decode()
            assert done.returncode == 1 and err.count("error") == 1 and "No space left" in err, done
            assert not any(f.is_file() for f in disk.rglob("*")), list(disk.rglob("*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def make_large_model(folder):
    """Sound, senseless, and made fast: 20 million weights, BF16, positive. Quantizing it takes long enough to be killed."""
    folder.mkdir()
    vocab, hidden, ffn, layers = write_tokenizer(folder), 1024, 2048, 2
    shapes = {"model.embed_tokens.weight": [vocab, hidden], "model.norm.weight": [hidden], "lm_head.weight": [vocab, hidden]}
    for i in range(layers):
        p = f"model.layers.{i}."
        shapes |= {p + "input_layernorm.weight": [hidden], p + "post_attention_layernorm.weight": [hidden]}
        shapes |= {p + f"self_attn.{m}_proj.weight": [hidden, hidden] for m in "qkvo"}
        shapes |= {p + "mlp.gate_proj.weight": [ffn, hidden], p + "mlp.up_proj.weight": [ffn, hidden],
                   p + "mlp.down_proj.weight": [hidden, ffn]}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    data = bytearray(offset)
    data[0::2] = random.Random(7).randbytes(offset // 2)
    data[1::2] = b"\x3c" * (offset // 2)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "vocab_size": vocab, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16"}))
    return folder


def end_while_writing(job, out, how):
    """Starts the job and sends the signal once it is writing `out`; True if that was in time."""
    temporary = out.with_name(out.name + ".lowbit-tmp")
    started = subprocess.Popen([LOWBIT, *map(str, job)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while started.poll() is None and not temporary.exists():
        time.sleep(0.0005)
    started.send_signal(how)
    return started.wait(60) == -how


def killed(folder):
    model = make_large_model(folder / "large")
    clean = folder / "clean.gguf"
    lowbit("quantize", model, clean, "Q2_K", "-t", 1)
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        place = folder / f"killed{how}"
        place.mkdir()
        out = place / "x.gguf"
        for _ in range(50):
            if end_while_writing(["quantize", model, out, "Q2_K", "-t", 1], out, how):
                break
            assert out.exists()  # it was done before the signal came: again
            out.unlink()
        else:
            raise AssertionError("the process was always done before it could be killed")
        left = [f.name for f in place.iterdir()]
        assert left == (["x.gguf.lowbit-tmp"] if how == signal.SIGKILL else []), left
        lowbit("quantize", model, out, "Q2_K", "-t", 1)
        assert out.read_bytes() == clean.read_bytes(), "what the killed run left behind shows in the next one's file"
        assert [f.name for f in place.iterdir()] == ["x.gguf"]


def killed_while_replacing(folder):
    """The file that was there before survives."""
    out = folder / "replaced.gguf"
    shutil.copy(folder / "whole.gguf", out)
    before = out.read_bytes()
    for _ in range(50):
        if end_while_writing(["quantize", folder / "large", out, "Q2_K", "-t", 1], out, signal.SIGKILL):
            break
        shutil.copy(folder / "whole.gguf", out)
    assert out.read_bytes() == before


def killed_behind_a_step(job, journal, step):
    """Starts the job and kills it as soon as its journal has the step."""
    started = subprocess.Popen([LOWBIT, *map(str, job)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while started.poll() is None and not (journal / f"step-{step:04}").exists():
        time.sleep(0.0005)
    started.send_signal(signal.SIGKILL)
    return started.wait(60) == -signal.SIGKILL


def bytes_of(out):
    return {f.name: f.read_bytes() for f in sorted(out.iterdir())} if out.is_dir() else out.read_bytes()


def goes_on_from_the_journal(folder):
    """Killed behind any layer, the same command ends with the same bytes as an undisturbed run."""
    model = make_model(folder / "layers", layers=4, ffn=256)
    few = ["--samples", 16, "--length", 64]
    for scheme, options in [("Q4_K_M", ["--rounding", "gptq", "--transform", "awq"]), ("nf4-dq", ["--rounding", "gptq"]),
                            ("awq-4bit-128g", []), ("IQ4_NL", ["--transform", "smoothquant"])]:
        place = folder / f"journal-{scheme}"
        place.mkdir()
        suffix = ".gguf" if scheme[0] in "QI" else ""
        clean, out = place / ("clean" + suffix), place / ("out" + suffix)
        lowbit("quantize", model, clean, scheme, *options, *few)
        job, journal = ["quantize", model, out, scheme, *options, *few], place / (out.name + ".lowbit-journal")
        in_time = 0
        for step in (0, 2):
            if not killed_behind_a_step(job, journal, step):
                continue  # it was done before the signal came
            in_time += 1
            assert journal.is_dir() and not out.is_file()
            if step == 2:  # what a failing disk does
                damaged = journal / "step-0001"
                content = bytearray(damaged.read_bytes())
                content[len(content) // 2] ^= 1
                damaged.write_bytes(content)
            assert "going on after layer" in lowbit(*job)[1], scheme
            assert bytes_of(out) == bytes_of(clean), (scheme, step)
            assert sorted(f.name for f in place.iterdir()) == [clean.name, out.name]
            shutil.rmtree(out) if out.is_dir() else out.unlink()
        assert in_time > 0, "the process was always done before it could be killed"
        if killed_behind_a_step(job, journal, 1):
            err = lowbit("quantize", model, out, scheme, *options, "--samples", 17, "--length", 64)[1]
            assert "another job" in err and "going on" not in err, err
            assert not journal.exists()


def unwritable(model, folder):
    refused("quantize", model, folder / "no" / "such" / "x.gguf", "Q4_K_M", says="No such file")
    refused("quantize", model, folder, "Q4_K_M", says="folder")
    refused("quantize", model, "/dev/null", "Q4_K_M", says="not a regular file")
    (folder / "file").write_text("x")
    refused("convert", folder / "whole.gguf", folder / "file" / "hf", says=[str(folder / "file"), "Not a directory"])
    assert "defect" not in lowbit("convert", folder / "whole.gguf", folder / "file" / "hf", code=1)[1]
    refused("calibrate", model, "--text", TEXT, "-o", folder / "no" / "stats", "--chunks", 1, "-c", 64, says="No such file")
    refused("eval", model, "--text", folder / "absent.txt", says="absent.txt")


def main():
    with scratch() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model", layers=3, ffn=256)
        damaged_gguf(model, folder)
        damaged_directory(model, folder)
        linked_snapshot(model, folder)
        full_disk(model, folder)
        killed(folder)
        killed_while_replacing(folder)
        goes_on_from_the_journal(folder)
        unwritable(model, folder)


if __name__ == "__main__":
    main()
