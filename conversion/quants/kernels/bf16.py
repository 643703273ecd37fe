"""BF16 in machine code; see conversion/quants/bf16.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import HAS_FLOAT16
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.narrowing import N, narrower
from conversion.quants.kernels.vectors import (
    bits_of_all,
    floats_of_bits,
    load_halves,
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


@inner
def _one_half(data: np.ndarray, i: int) -> Any:
    return load_halves(data, 2 * i, 1)


@inner
def _many_halves(data: np.ndarray, i: int) -> Any:
    return load_halves(data, 2 * i, N)


_narrow = narrower(_put, FIRST_TOO_LARGE)
_narrow_halves = narrower(_put, FIRST_TOO_LARGE, _one_half, _many_halves, items=2)


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


if HAS_FLOAT16:

    @kernel
    def from_f16(data: np.ndarray, out: np.ndarray) -> int:
        return _narrow_halves(data.reshape(-1), out.reshape(-1))
