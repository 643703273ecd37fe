"""MXFP4 as GPT-OSS stores it: 32 four-bit floats and one power of two.

| tensor | what |
|---|---|
| X_blocks | uint8 (n_experts, n_out, n_groups, 16): two values in each byte, the even one in the low four bits |
| X_scales | uint8 (n_experts, n_out, n_groups): exponent + 127 |

X (n_experts, n_in, n_out), inputs first, as transformers keeps these matrices in floating point. A GGUF takes the
blocks as they are (conversion/naming/gpt_oss.py); this is for everything else.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.packed.base import Found, LastRead, Made, expect_shape, part
from conversion.formats.weights import Rows, Weights

FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""E2M1, by its four bits."""

BYTES_IN_GROUP = 16


def find_mxfp4(weights: Weights, config: Mapping[str, Any]) -> Found:
    found: Found = {}
    for name in weights.entries:
        if name.endswith("_blocks"):
            plain = name.removesuffix("_blocks")
            found[plain] = _made(weights, plain)
    return found


def _made(weights: Weights, plain: str) -> Made:
    blocks = part(weights, f"{plain}_blocks", "U8")
    if len(blocks.shape) != 4 or blocks.shape[3] != BYTES_IN_GROUP:
        raise HeaderError(
            "packed-shape",
            f"its shape is {blocks.shape}, expected four dimensions, the last 16",
            f"tensor {quoted(blocks.name)}",
        )
    n_experts, n_out, n_groups, _ = blocks.shape
    expect_shape(part(weights, f"{plain}_scales", "U8"), n_experts, n_out, n_groups)
    n_in = n_groups * 2 * BYTES_IN_GROUP
    held = LastRead(lambda expert: _expert(weights, plain, int(expert)))
    return Made((n_experts, n_in, n_out), partial(_rows, n_in, held), (f"{plain}_blocks", f"{plain}_scales"))


def _rows(n_in: int, held: LastRead, first: int, count: int) -> Rows:
    pieces = []
    while count > 0:
        expert, row = divmod(first, n_in)
        taken = min(count, n_in - row)
        pieces.append(held(str(expert))[row : row + taken])
        first, count = first + taken, count - taken
    return np.concatenate(pieces)


def _expert(weights: Weights, plain: str, expert: int) -> Rows:
    """float32 (n_in, n_out) of one expert."""
    _, n_out, n_groups, _ = weights.entries[f"{plain}_blocks"].shape
    data = weights.read_rows(f"{plain}_blocks", expert * n_out * n_groups, n_out * n_groups)
    packed = np.frombuffer(data, np.uint8).reshape(n_out, n_groups, BYTES_IN_GROUP)
    scales = np.frombuffer(weights.read_rows(f"{plain}_scales", expert * n_out, n_out), np.uint8)
    values = FP4[np.stack([packed & 15, packed >> 4], axis=-1)].reshape(n_out, n_groups, -1)
    scaled = np.ldexp(values, scales.reshape(n_out, n_groups, 1).astype(np.int32) - 127)
    return np.ascontiguousarray(scaled.reshape(n_out, -1).T)
