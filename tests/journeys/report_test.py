"""quantize --eval --report --card, and verify: what is told of a model is true, and a changed model is found out."""
import json
import pathlib
import struct

from tiny import TEXT, lowbit, lowbit_json, make_model, refused, scratch


def outcomes(*args):
    return {c["check"]: c["outcome"] for c in lowbit_json("verify", *args)["checks"]}


def told_and_checked(model, folder, out, scheme, *options, folded=False):
    report, card = folder / "report.json", folder / "card.md"
    printed = lowbit_json("quantize", model, out, scheme, "--eval", TEXT, "--eval-chunks", 2, "--report", report, "--card", card,
                          *options)
    told = json.loads(report.read_text())
    assert printed["provenance"] == told["provenance"] and printed["evaluation"] == told["evaluation"], (printed, told)
    assert told["provenance"]["source"] == model.name and told["provenance"]["scheme"] == scheme, told
    again = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 2)
    for figure in ("perplexity", "mean_kld", "top1_agreement"):
        assert abs(again[figure] - told["evaluation"][figure]) < 1e-9, (figure, again, told)
    text = card.read_text()
    assert text.startswith("---\nbase_model: model\n") and f"{told['evaluation']['perplexity']:.4f}" in text, text
    assert told["provenance"]["source_hash"] in text and scheme in text, text
    checks = outcomes(out, "--report", report, "--source", model, "--text", TEXT)
    assert folded == ("tensors" not in told), told
    assert checks == {"structure": "ok", "values": "ok", "provenance": "ok", "files": "ok",
                      "weights": "not checked" if folded else "ok", "figures": "ok"}, checks
    assert outcomes(out)["provenance"] == "not checked"
    return report, told


def weight_errors_are_those_of_the_encoding(told):
    errors = {t["tensor"]: t for t in told["tensors"]}
    norm, matrix = errors["model.norm.weight"], errors["model.layers.0.self_attn.q_proj.weight"]
    assert norm["weight_error"] == 0 and norm["encoding"] == "F32", norm
    assert 0.001 < matrix["weight_error"] < 0.02 and matrix["encoding"] == "Q4_K", matrix  # 4 bits: 0.4 to 0.8 %


def changes_are_found_out(model, folder, out, report):
    refused("verify", out, "--source", make_model(folder / "other", seed=5), says="checks failed")
    other_text = folder / "text.txt"
    other_text.write_text(TEXT.read_text()[5000:])
    refused("verify", out, "--source", model, "--report", report, "--text", other_text, says="checks failed")
    changed = json.loads(report.read_text())
    changed["evaluation"]["mean_kld"] *= 1.1
    wrong = folder / "wrong.json"
    wrong.write_text(json.dumps(changed))
    refused("verify", out, "--source", model, "--report", wrong, "--text", TEXT, says="checks failed")
    for hostile in ("[]", '{"tensors": [3]}', '{"evaluation": 4}'):
        wrong.write_text(hostile)
        refused("verify", out, "--source", model, "--report", wrong, "--text", TEXT, says="wrong.json")
    data = bytearray(out.read_bytes())
    data[-40] ^= 1
    damaged = folder / "damaged.gguf"
    damaged.write_bytes(data)
    refused("verify", damaged, "--report", report, says="checks failed")
    data = bytearray(out.read_bytes())
    at = data.find(norm_bytes(model))
    data[at:at + 4] = struct.pack("<f", float("inf"))
    damaged.write_bytes(data)
    refused("verify", damaged, says="checks failed")


def norm_bytes(model):
    """A norm's, which the quantized file keeps as they are."""
    file = (model / "model.safetensors").read_bytes()
    length = struct.unpack_from("<Q", file)[0]
    begin, end = json.loads(file[8:8 + length])["model.layers.0.input_layernorm.weight"]["data_offsets"]
    return file[8 + length + begin:8 + length + end]


def overlap_is_told(model, folder):
    _, err = lowbit("quantize", model, folder / "overlap.gguf", "Q4_K_S", "--rounding", "gptq", "--calib", TEXT, "--samples", 16,
                    "--length", 64, "--eval", TEXT, "--eval-chunks", 2)
    assert "of the evaluation text is in the calibration text too" in err, err
    refused("quantize", model, folder / "no.gguf", "Q4_K_S", "--eval", folder / "missing.txt", says="missing.txt")
    assert not (folder / "no.gguf").exists()


def main():
    with scratch() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model")
        out = folder / "q4.gguf"
        report, told = told_and_checked(model, folder, out, "Q4_K_S")
        weight_errors_are_those_of_the_encoding(told)
        changes_are_found_out(model, folder, out, report)
        _, told = told_and_checked(model, folder, folder / "gptq", "gptq-4bit-64g", "--samples", "16", "--length", "64")
        assert len(told["matrices"]) == 3 * 7 and told["provenance"]["calibration_hash"].startswith("fnv1a64:"), told
        assert "# model, gptq-4bit-64g" in (folder / "gptq" / "README.md").read_text()
        told_and_checked(model, folder, folder / "awq", "awq-4bit-64g", "--samples", "16", "--length", "64", folded=True)
        overlap_is_told(model, folder)


if __name__ == "__main__":
    main()
