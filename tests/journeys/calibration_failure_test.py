"""What goes wrong in calibrated work: damaged weights, inputs that say nothing, a wrong tokenizer, a full disk, a kill at any
layer, groups that do not divide. One line, or the work goes on and what fell back is told."""
import array
import json
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import time

from tiny import LOWBIT, TEXT, lowbit, lowbit_json, make_model, refused, scratch, small_disk

FEW = ["--samples", 16, "--length", 32]
JOBS = [("out.gguf", "Q4_K_M", "--rounding", "gptq"), ("out", "gptq-4bit-64g"), ("out", "awq-4bit-64g"), ("out", "nf4", "--rounding", "gptq")]


def with_tensor(model, folder, name, change):
    """A copy of the model whose tensor went through `change`, of an array of floats."""
    shutil.copytree(model, folder)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    length = struct.unpack_from("<Q", data)[0]
    begin, end = json.loads(data[8:8 + length])[name]["data_offsets"]
    values = array.array("f", bytes(data[8 + length + begin:8 + length + end]))
    change(values)
    data[8 + length + begin:8 + length + end] = values.tobytes()
    file.write_bytes(data)
    return folder


def nothing_left(folder):
    """A folder that was made for the output may be there, but empty."""
    left = [f for out in folder.glob("out*") for f in (out.rglob("*") if out.is_dir() else [out])]
    assert not left, left


def not_finite(model, folder):
    def damage(value):
        def change(values):
            values[len(values) // 2] = value
        return change

    layer = "model.layers.1."
    for i, (name, value) in enumerate([(layer + "self_attn.q_proj.weight", "nan"), (layer + "mlp.down_proj.weight", "inf"),
                                       (layer + "input_layernorm.weight", "nan"), ("model.embed_tokens.weight", "nan"),
                                       ("model.norm.weight", "-inf"), ("lm_head.weight", "nan")]):
        bad = with_tensor(model, folder / f"bad{i}", name, damage(float(value)))
        for out, *job in JOBS:
            refused("quantize", bad, folder / out, *job, *FEW, says=[str(bad), "finite", "damaged"])
            nothing_left_but_finished_layers(folder, out)


def nothing_left_but_finished_layers(folder, out):
    shutil.rmtree(folder / (out + ".lowbit-journal"), ignore_errors=True)
    nothing_left(folder)


def inputs_that_say_nothing(model, folder):
    """H is of rank one, or zero: damped, or passed over, and told."""
    same = folder / "same.txt"
    same.write_text("e" * 4000)
    report = folder / "report.json"
    for out, *job in JOBS:
        lowbit("quantize", model, folder / out, *job, *FEW, "--calib", same, "--report", report)
        kld = lowbit_json("eval", folder / out, "--text", TEXT, "--reference", model, "--chunks", 1, "-c", 64)["mean_kld"]
        assert 0 < kld < 1.5, (job, kld)
        remove(folder / out)
    zero = with_tensor(model, folder / "zero", "model.layers.1.post_attention_layernorm.weight", clear)
    for out, *job in JOBS[:2]:
        _, err = lowbit("quantize", zero, folder / out, *job, *FEW, "--report", report)
        fell_back = sorted(m["tensor"] for m in json.loads(report.read_text())["matrices"] if m["fell_back"])
        told = sorted(line.split()[1] for line in err.splitlines() if "GPTQ could not be used" in line)
        assert len(fell_back) == 3 and fell_back == told, (fell_back, told)  # gate and up, and down behind them
        assert all(".1." in name for name in fell_back), fell_back
        lowbit("run", folder / out, "-p", "x", "-n", 2)
        remove(folder / out)


def clear(values):
    for i in range(len(values)):
        values[i] = 0.0


def remove(out):
    shutil.rmtree(out) if out.is_dir() else out.unlink()


def text_that_is_none(model, folder):
    for name, content in [("empty.txt", b""), ("blank.txt", b" \n"), ("empty.jsonl", b""), ("bytes.txt", b"\xff\xfe" * 5000)]:
        text = folder / name
        text.write_bytes(content)
        for out, *job in JOBS:
            refused("quantize", model, folder / out, *job, *FEW, "--calib", text, says=name)
            nothing_left(folder)
        refused("quantize", model, folder / "out.gguf", "--target-bpw", 4, "--calib", text, says=name)
        if name != "bytes.txt":  # which llama-imatrix takes, and so does calibrate
            refused("calibrate", model, "--text", text, "-o", folder / "out.imatrix", says=f"{name} has only")
        nothing_left(folder)


def wrong_tokenizer(model, folder):
    """A tokenizer with more tokens than the model has rows."""
    larger = folder / "larger"
    shutil.copytree(model, larger)
    tokenizer = json.loads((larger / "tokenizer.json").read_text())
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    for pair in ["Ġt h", "o r", "a n", "e n"]:
        vocab[pair.replace(" ", "")] = len(vocab)
        merges.append(pair)
    (larger / "tokenizer.json").write_text(json.dumps(tokenizer))
    says = [str(larger / "tokenizer.json"), "there is room for"]
    for out, *job in JOBS:
        refused("quantize", larger, folder / out, *job, *FEW, "--calib", TEXT, says=says)
    refused("quantize", larger, folder / "out.gguf", "--target-bpw", 4, "--calib", TEXT, says=says)
    refused("calibrate", larger, "--text", TEXT, "-o", folder / "out.imatrix", says=says)
    refused("eval", larger, "--text", TEXT, says=says)
    nothing_left(folder)
    other = make_model(folder / "other", layers=1, ffn=256, more_tokens=5)
    refused("eval", other, "--text", TEXT, "--reference", model, "--chunks", 1, "-c", 64, says=[str(other), str(model), "vocabulary"])


def full_disk(model, folder):
    """Room for the output, but not for the journal beside it: the work ends in one line and goes on once there is room."""
    disk = small_disk(folder, "640k")
    if disk is None:
        print("a disk that the journal fills: not tried, as mounting a small disk needs root")
        return
    try:
        for out, *job in JOBS[:2]:
            size = lowbit_json("quantize", model, folder / out, *job, *FEW)["bytes"]
            content = bytes_of(folder / out)
            remove(folder / out)
            (disk / "ballast").write_bytes(b"x" * (640 * 1024 - size - 150_000))
            arguments = ["quantize", model, disk / out, *job, *FEW]
            refused(*arguments, says="No space left")
            assert not (disk / "out.gguf").exists() and not (disk / "out" / "config.json").exists()
            (disk / "ballast").unlink()
            if size * 2 + 100_000 < 640 * 1024:
                lowbit(*arguments)
                assert bytes_of(disk / out) == content
            for left in disk.iterdir():
                remove(left)
    finally:
        subprocess.run(["umount", disk], check=True)


def file_size_limit(model, folder):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    place = folder / "limited"
    for out, *job in JOBS:
        place.mkdir()
        done = subprocess.run([LOWBIT, "quantize", model, out, *job, *map(str, FEW)], capture_output=True, cwd=place,
                              preexec_fn=limit, timeout=60)
        err = done.stderr.decode()
        assert done.returncode == 1 and err.count("error: ") == 1 and "File too large" in err, done
        shutil.rmtree(place)


def bytes_of(out):
    return {f.name: f.read_bytes() for f in sorted(out.iterdir())} if out.is_dir() else out.read_bytes()


def killed_at_every_layer(folder):
    """kill -9 as soon as each step is in the journal, the output matrix's too: one job after another's, to the same bytes."""
    layers = 5
    model = make_model(folder / "layers", layers=layers, ffn=256)
    job = ["Q4_K_M", "--rounding", "gptq", *FEW]
    clean, out = folder / "clean.gguf", folder / "out.gguf"
    lowbit("quantize", model, clean, *job)
    journal = folder / "out.gguf.lowbit-journal"
    in_time = 0
    for step in range(layers + 1):
        started = subprocess.Popen([LOWBIT, "quantize", *map(str, [model, out, *job])], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        while started.poll() is None and not (journal / f"step-{step:04}").exists():
            time.sleep(0.0005)
        started.send_signal(signal.SIGKILL)
        if started.wait(60) == -signal.SIGKILL:
            in_time += 1
            kept = {f.name: f.read_bytes() for f in journal.iterdir()}
            copy = folder / "copy.gguf"  # the same journal serves a job that is not killed again
            shutil.copytree(journal, folder / "copy.gguf.lowbit-journal")
            _, err = lowbit("quantize", model, copy, *job)
            assert "going on after layer" in err and copy.read_bytes() == clean.read_bytes(), (step, err)
            copy.unlink()
            assert kept == {f.name: f.read_bytes() for f in journal.iterdir()}
        else:
            out.unlink()
    assert in_time >= layers - 1, in_time
    lowbit("quantize", model, out, *job)
    assert out.read_bytes() == clean.read_bytes()
    assert not journal.exists()


def groups_that_do_not_divide(folder):
    """256 columns, groups of 96."""
    folder = folder / "groups"
    model = make_model(folder / "odd", layers=1, ffn=256)
    for scheme in ("gptq-4bit-96g", "gptq-4bit-96g-asym"):
        out = folder / "out"
        done = lowbit_json("quantize", model, out, scheme, *FEW)
        kld = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 1, "-c", 64)["mean_kld"]
        assert done["fallbacks"] == [] and kld < 1, (scheme, done, kld)
        remove(out)
    for scheme in ("awq-4bit-96g", "awq-4bit-96g --rounding gptq"):
        refused("quantize", model, folder / "out", *scheme.split(), *FEW, says=["awq", "no matrix can be stored"])
        nothing_left(folder)
    narrow = make_model(folder / "narrow", hidden=96, ffn=256, layers=1)
    refused("quantize", narrow, folder / "out.gguf", "Q4_K_M", "--rounding", "gptq", "--strict", *FEW, says=["--strict", "256"])
    nothing_left(folder)


def main():
    with scratch() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model", layers=2, ffn=256)
        not_finite(model, folder)
        inputs_that_say_nothing(model, folder)
        text_that_is_none(model, folder)
        wrong_tokenizer(model, folder)
        full_disk(model, folder)
        file_size_limit(model, folder)
        killed_at_every_layer(folder)
        groups_that_do_not_divide(folder)


if __name__ == "__main__":
    main()
