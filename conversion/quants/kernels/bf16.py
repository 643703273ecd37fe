"""BF16 in machine code; see conversion/quants/bf16.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.narrowing import narrower
from conversion.quants.kernels.vectors import (
    bits_of_all,
    floats_of_bits,
    load_shorts,
    store_floats,
    store_shorts,
)

FIRST_TOO_LARGE = 0x7F7F8000
"""The bits of the smallest magnitude that rounds up to infinity."""


@inner
def _put(data: np.ndarray, i: int, x: Any) -> None:
    bits = bits_of_all(x)
    store_shorts(data, 2 * i, (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16)


_narrow = narrower(_put, FIRST_TOO_LARGE)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    return _narrow(rows.reshape(-1), out.reshape(-1))


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    shorts, values = data.reshape(-1), out.reshape(-1)
    n_vectors = values.size // 32
    for i in range(n_vectors):
        store_floats(values, 32 * i, floats_of_bits(load_shorts(shorts, 64 * i, 32) << 16))
    for i in range(32 * n_vectors, values.size):
        store_floats(values, i, floats_of_bits(load_shorts(shorts, 2 * i, 1) << 16))
