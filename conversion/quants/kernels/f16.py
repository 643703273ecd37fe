"""F16 in machine code; see conversion/quants/f16.py. Without float16 in the CPU numpy does it."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import HAS_FLOAT16
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.narrowing import N, narrower
from conversion.quants.kernels.vectors import (
    floats_of_bits,
    load_halves,
    load_shorts,
    store_floats,
    store_halves,
)

FIRST_TOO_LARGE = 0x477FF000
"""The bits of 65520, the smallest magnitude that rounds up to infinity."""


@inner
def _put(data: np.ndarray, i: int, x: Any) -> None:
    store_halves(data, 2 * i, x)


@inner
def _one_bf16(data: np.ndarray, i: int) -> Any:
    return floats_of_bits(load_shorts(data, 2 * i, 1) << 16)


@inner
def _many_bf16(data: np.ndarray, i: int) -> Any:
    return floats_of_bits(load_shorts(data, 2 * i, N) << 16)


_narrow = narrower(_put, FIRST_TOO_LARGE)
_narrow_bf16 = narrower(_put, FIRST_TOO_LARGE, _one_bf16, _many_bf16, items=2)

if HAS_FLOAT16:

    @kernel
    def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
        return _narrow(rows.reshape(-1), out.reshape(-1))

    @kernel
    def from_bf16(data: np.ndarray, out: np.ndarray) -> int:
        return _narrow_bf16(data.reshape(-1), out.reshape(-1))

    @kernel
    def dequantize(data: np.ndarray, out: np.ndarray) -> None:
        halves, values = data.reshape(-1), out.reshape(-1)
        n_vectors = values.size // 32
        for i in range(n_vectors):
            store_floats(values, 32 * i, load_halves(halves, 64 * i, 32))
        for i in range(32 * n_vectors, values.size):
            store_floats(values, i, load_halves(halves, 2 * i, 1))
