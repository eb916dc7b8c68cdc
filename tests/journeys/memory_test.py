"""--max-ram: hidden states in a temporary file change no byte of the result, keep the budget, and leave nothing behind."""
import pathlib
import resource
import shutil
import signal
import subprocess
import time

from tiny import LOWBIT, lowbit, lowbit_json, make_model, refused, scratch, small_disk

SCHEMES = [("Q4_K_M", ["--rounding", "gptq", "--transform", "awq"]), ("gptq-4bit-64g", []), ("awq-4bit-64g", []),
           ("IQ4_NL", ["--rounding", "gptq", "--alpha", 0, "--beta", 0])]


def bytes_of(out):
    return {f.name: f.read_bytes() for f in sorted(out.iterdir())} if out.is_dir() else out.read_bytes()


def budgets(model, out, scheme, *options):
    """(what it takes in memory, what it takes at least, what then goes to disk), as the plan tells."""
    plan = lowbit_json("quantize", model, out, scheme, *options, "--plan")
    assert plan["memory_spilled_bytes"] < plan["memory_in_memory_bytes"] == plan["memory_bytes"] and not plan["spills"], plan
    return plan["memory_in_memory_bytes"], plan["memory_spilled_bytes"], plan["spilled_bytes"]


def the_same_bytes(folder):
    model = make_model(folder / "model", layers=2, ffn=256)
    few = ["--samples", 213, "--length", 48]  # slices of 21 sequences: the last one is not full; more than memory varies by
    for scheme, options in SCHEMES:
        suffix = ".gguf" if scheme[0] in "QI" else ""
        place = folder / f"same-{scheme}"
        place.mkdir()
        clean, out = place / ("clean" + suffix), place / ("out" + suffix)
        _, err = lowbit("quantize", model, clean, scheme, *options, *few)
        assert "temporary file" not in err, err
        job = ["quantize", model, out, scheme, *options, *few, "--max-ram", tight(model, out, scheme, *options, *few)]
        _, err = lowbit(*job)
        assert f"temporary file of " in err and str(place) in err, err
        assert bytes_of(out) == bytes_of(clean), scheme
        assert sorted(f.name for f in place.iterdir()) == [clean.name, out.name]


def tight(model, out, *job):
    """A budget that is kept only by spilling."""
    most, least, _ = budgets(model, out, *job)
    return (most + least) // 2


def the_budget_is_kept(folder):
    """Where the inputs of layers outweigh all else."""
    model = make_model(folder / "wide", hidden=512, ffn=512, layers=1)
    job = ["Q4_K_M", "--rounding", "gptq", "--samples", 160, "--length", 256, "--sweeps", 0]
    out = folder / "wide.gguf"
    most, least, disk = budgets(model, out, *job)
    assert disk == 160 * 256 * 2 * (2 * 512 + 2 * 512 + 512), disk  # hidden states, attention outputs, gates
    taken = {}
    for budget in (None, tight(model, out, *job), least + (8 << 20)):
        done = lowbit_json("quantize", model, out, *job, *(["--max-ram", budget] if budget else []))
        taken[budget] = done["peak_memory_bytes"]
        assert budget is None or taken[budget] <= budget, (taken, most, least)
    assert taken[None] > max(b for b in taken if b), (taken, most, least)
    assert 0.6 * most < taken[None] < 1.15 * most, (taken, most)
    assert 0.6 * least < taken[least + (8 << 20)], (taken, least)
    refused("quantize", model, folder / "no.gguf", *job, "--max-ram", least // 2, says=["--max-ram", "needs at least"])
    refused("quantize", model, folder / "no.gguf", *job, "--max-ram", least // 2, "--plan", says="needs at least")
    refused("quantize", model, folder / "no.gguf", *job, "--max-ram", "much", says=["--max-ram much", "7.5GiB"])
    _, err = lowbit("quantize", model, folder / "plain.gguf", "Q4_K_M", "--max-ram", "1GiB")
    assert "--max-ram is for calibrated work" in err, err
    assert not (folder / "no.gguf").exists()


def no_room_on_disk(folder):
    """Told before the work, in one line; nothing is left."""
    model = make_model(folder / "small", layers=1, ffn=256)
    job = [model, "out.gguf", "Q4_K_M", "--rounding", "gptq", "--samples", 64, "--length", 128]
    job += ["--max-ram", tight(*job)]

    def limit():  # the output has 330 KB, the states 17 MB
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    def fails(place, says, **how):
        done = subprocess.run([LOWBIT, "quantize", *map(str, job)], capture_output=True, cwd=place, timeout=60, **how)
        err = done.stderr.decode()
        assert done.returncode == 1 and err.count("error: ") == 1 and says in err and "rounding" not in err, done
        assert list(place.iterdir()) == [], list(place.iterdir())

    place = folder / "limited"
    place.mkdir()
    fails(place, "File too large", preexec_fn=limit)
    disk = small_disk(folder, "1m")
    if disk is not None:
        try:
            fails(disk, "No space left")
        finally:
            subprocess.run(["umount", disk], check=True)


def interrupted_and_killed(folder):
    """Nothing is left but the journal, from which the work goes on with or without the file."""
    model = make_model(folder / "layers", layers=3, ffn=256)
    few = ["--rounding", "gptq", "--samples", 24, "--length", 64]
    clean = folder / "clean.gguf"
    lowbit("quantize", model, clean, "Q4_K_M", *few)
    for how in (signal.SIGINT, signal.SIGKILL):
        place = folder / f"ended{how}"
        place.mkdir()
        out, journal = place / "out.gguf", place / "out.gguf.lowbit-journal"
        spilling = [*few, "--max-ram", tight(model, out, "Q4_K_M", *few)]
        for resume in (few, spilling):
            started = subprocess.Popen([LOWBIT, "quantize", *map(str, [model, out, "Q4_K_M", *spilling])],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while started.poll() is None and not (journal / "step-0000").exists():
                time.sleep(0.0005)
            started.send_signal(how)
            in_time = started.wait(60) == -how
            left = {f.name for f in place.iterdir()} - {"out.gguf.lowbit-tmp"}  # which kill -9 leaves
            assert not in_time or left == {journal.name}, left
            _, err = lowbit("quantize", model, out, "Q4_K_M", *resume)
            assert not in_time or "going on after layer" in err, err
            assert out.read_bytes() == clean.read_bytes(), (how, resume)
            out.unlink()
        shutil.rmtree(place)


def main():
    with scratch() as name:
        folder = pathlib.Path(name)
        the_same_bytes(folder)
        the_budget_is_kept(folder)
        no_room_on_disk(folder)
        interrupted_and_killed(folder)


if __name__ == "__main__":
    main()
