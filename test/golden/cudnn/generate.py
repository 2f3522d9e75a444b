"""Flash attention as JAX lowers it for CUDA, and where it tells cuDNN that segments lie. Needs JAX (made with 0.10.2), neither a GPU nor cuDNN.

    python generate.py

writes golden.json beside this file.
"""

import json
import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.cudnn import fused_attention_stablehlo as fused

# Asked of a device that is not there while its module is written.
fused.check_cudnn_version = lambda: 91500
fused.check_compute_capability = lambda capability: True
fused.is_cuda_compute_capability_equal = lambda capability: False

CASES = {
    "causal": dict(rows=2, length=64, heads=6, keyValueHeads=2, headDim=64, window=0, segments=1),
    "window": dict(rows=1, length=48, heads=4, keyValueHeads=4, headDim=32, window=16, segments=1),
    "packed": dict(rows=2, length=64, heads=4, keyValueHeads=4, headDim=128, window=0, segments=4),
    "packed window": dict(rows=3, length=40, heads=8, keyValueHeads=2, headDim=16, window=8, segments=2),
}


def custom_calls(rows, length, heads, keyValueHeads, headDim, window, segments):
    array = lambda heads: jax.ShapeDtypeStruct((rows, length, heads, headDim), jnp.bfloat16)
    options = dict(scale=1.0, qkv_layout="BTNH", mask_type=fused.MaskType.CAUSAL, sliding_window_length=window or None)
    places = []
    if segments > 1:
        places = [jax.ShapeDtypeStruct((rows, count), jnp.int32) for count in (segments, segments + 1)]
        options["mask_type"] = fused.MaskType.PADDING_CAUSAL

    def both_ways(query, key, value, gradient, *places):
        given = dict(zip(("q_seqlen", "q_offsets"), places)) | dict(zip(("kv_seqlen", "kv_offsets"), places))
        result, back = jax.vjp(lambda *inputs: fused.dot_product_attention(*inputs, **options, **given), query, key, value)
        return result, *back(gradient)

    query, key = array(heads), array(keyValueHeads)
    text = jax.jit(both_ways).trace(query, key, key, query, *places).lower(lowering_platforms=("cuda",)).as_text()
    return [line.strip() for line in text.splitlines() if "__cudnn$" in line]


def places_of(lengths, length, most):
    """Lengths and first tokens of the segments of each row, −1 where there is none, as JAX takes them, and as it hands them to cuDNN for one head of one feature."""
    rows = len(lengths)
    sizes, begins = np.full((rows, most), -1, np.int32), np.full((rows, most + 1), -1, np.int32)
    for row, parts in enumerate(lengths):
        sizes[row, : len(parts)] = parts
        begins[row, : len(parts)] = np.cumsum([0, *parts[:-1]])
    one = jnp.zeros((rows, length, 1, 1))
    fixed, _, offsets, _ = fused._fix_seqlen_offsets(jnp.asarray(sizes), jnp.asarray(sizes), jnp.asarray(begins), jnp.asarray(begins), one, one)
    return dict(segments=lengths, lengths=fixed.tolist(), offsets=offsets.tolist())


golden = dict(
    calls=[dict(name=name, **case, lines=custom_calls(**case)) for name, case in CASES.items()],
    places=[
        places_of([[8, 4], [12]], 12, 2),
        places_of([[3, 5, 1, 7], [16], [2, 14]], 16, 4),
        places_of([[1, 1, 1, 1, 6], [10], [4, 6], [9, 1]], 10, 8),
    ],
)
pathlib.Path(__file__).with_name("golden.json").write_text(json.dumps(golden, indent=1) + "\n")
