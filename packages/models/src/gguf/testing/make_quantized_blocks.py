"""Writes quantized-blocks.json: numbers with the bytes to which gguf-py and ggml quantise them.

    pip install gguf==0.19.0 numpy xllamacpp==2026.10.11549
    python make_quantized_blocks.py

gguf-py has no quantiser of the K types: those bytes come from ggml itself, in the library of xllamacpp.
"""

import base64
import ctypes
import json
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

BLOCK = 256
SIMPLE = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
K = {"Q4_K": 12, "Q5_K": 13, "Q6_K": 14}


def numbers():
    random = np.random.default_rng(7)
    rows = [random.normal(0, scale, BLOCK) for scale in (1, 0.02, 0.3, 30)]
    rows += [random.standard_t(2, BLOCK) * 0.05, random.uniform(0.5, 1, BLOCK), random.uniform(-3, -2, BLOCK)]
    rows += [np.zeros(BLOCK), np.full(BLOCK, 0.25), np.where(np.arange(BLOCK) == 77, 5, 0)]
    rows += [np.arange(BLOCK) / 64 - 2, np.sign(random.normal(size=BLOCK)), random.normal(0, 1e-6, BLOCK)]
    return np.stack(rows).astype(np.float32)


def ggml_bytes(library, number, values):
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)][1] * len(values)
    out = ctypes.create_string_buffer(size)
    source = np.ascontiguousarray(values).ctypes.data_as(ctypes.c_void_p)
    library.ggml_quantize_chunk(
        number, source, out, ctypes.c_int64(0), ctypes.c_int64(len(values)), ctypes.c_int64(BLOCK), None
    )
    return out.raw


def text(data):
    return base64.b64encode(bytes(data)).decode()


values = numbers()
library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
library.ggml_quantize_chunk.restype = ctypes.c_size_t
types = {name: text(gguf.quantize(values, gguf.GGMLQuantizationType[name]).tobytes()) for name in SIMPLE}
types |= {name: text(ggml_bytes(library, number, values)) for name, number in K.items()}
contents = {
    "provenance": f"gguf {gguf.__version__ if hasattr(gguf, '__version__') else '0.19.0'}; K types: ggml in xllamacpp 2026.10.11549",
    "numbers": text(values.tobytes()),
    "types": types,
}
Path(__file__).with_name("quantized-blocks.json").write_text(json.dumps(contents, indent=1) + "\n")
