"""Every scheme with every rounding and transform that `lowbit methods` tells of, and docs/methods.md says the same."""
import pathlib

from tiny import SOURCE, TEXT, lowbit, lowbit_json, make_model, scratch

QUICK = ["--calib", TEXT, "--samples", 16, "--length", 32, "--no-journal"]


def the_document_is_the_programs():
    table, _ = lowbit("methods")
    assert table in (SOURCE / "docs/methods.md").read_text(), "docs/methods.md is old: put the output of lowbit methods there"


def combination_works(model, folder, method, rounding, transform):
    out = folder / ("model.gguf" if method["container"] == "GGUF" else "model")
    _, err = lowbit("quantize", model, out, method["scheme"], "--rounding", rounding, "--transform", transform, *QUICK)
    told = "nearest codes: GPTQ could not be used" in err
    expected = rounding == "gptq" and method["gptq"].startswith("nearest codes")
    assert told == expected, (method, rounding, transform, err)
    result = lowbit_json("eval", out, "--text", TEXT, "--reference", model, "--chunks", 2, "-c", 64)
    assert result["mean_kld"] < 1.5, (method, rounding, transform, result)


def main():
    the_document_is_the_programs()
    with scratch() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model-1", layers=1, ffn=256)
        for method in lowbit_json("methods")["methods"]:
            for rounding in ("weighted", "gptq"):
                for transform in ("none", "awq", "smoothquant"):
                    combination_works(model, folder, method, rounding, transform)


if __name__ == "__main__":
    main()
