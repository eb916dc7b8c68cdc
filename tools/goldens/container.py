#!/usr/bin/env python3
"""Writes tests/data/container/: small files made by the formats' own Python libraries, which tests/container/golden_test.cc
reads, and writes again byte for byte.

    pip install numpy gguf safetensors && tools/goldens/container.py
"""

import pathlib

import gguf
import numpy as np
from safetensors.numpy import save_file

folder = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "container"
folder.mkdir(parents=True, exist_ok=True)


def write_gguf():
    writer = gguf.GGUFWriter(folder / "gguf_py.gguf", "llama")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -32768)
    writer.add_uint32("u32", 4294967295)
    writer.add_int32("i32", -2147483648)
    writer.add_float32("f32", 0.1)
    writer.add_bool("yes", True)
    writer.add_bool("no", False)
    writer.add_string("text", "a\nb é 日本")
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float64("f64", 0.1)
    writer.add_array("ints", [1, -2, 3])
    writer.add_array("floats", [0.5, -1.5])
    writer.add_array("bools", [True, False, True])
    writer.add_array("texts", ["", "Ġthe", "\U0001f600"])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_tensor("matrix.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("half.weight", np.arange(8, dtype=np.float16).reshape(2, 2, 2))
    writer.add_tensor("vector.bias", np.array([1.5, -2.5], dtype=np.float32))
    for number, kind in enumerate((np.int8, np.int16, np.int32, np.int64, np.float64)):
        writer.add_tensor(f"raw.{number}", np.array([-3, 4], dtype=kind))
    quantized = gguf.quants.quantize(np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("quantized.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors():
    # Names in the order in which the library itself sorts: wide dtypes first, then by name.
    save_file(
        {
            "a.f64": np.array([0.1], dtype=np.float64),
            "b.f32": np.arange(6, dtype=np.float32).reshape(2, 3),
            "c.f32": np.array(7, dtype=np.float32),
            "d.f16": np.arange(3, dtype=np.float16),
            "é.u8": np.array([[1, 2, 3]], dtype=np.uint8),
        },
        folder / "library.safetensors",
        metadata={"format": "pt"},
    )


write_gguf()
write_safetensors()
