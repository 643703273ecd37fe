"""BF16 in machine code; see conversion/quants/bf16.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.vectors import (
    bits_of_all,
    floats_of_bits,
    load_floats,
    load_shorts,
    store_floats,
    store_shorts,
)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_vectors = values.size // 32
    for i in range(n_vectors):
        store_shorts(data, 64 * i, _rounded(load_floats(values, 32 * i, 32)))
    for i in range(32 * n_vectors, values.size):
        store_shorts(data, 2 * i, _rounded(load_floats(values, i, 1)))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    shorts, values = data.reshape(-1), out.reshape(-1)
    n_vectors = values.size // 32
    for i in range(n_vectors):
        store_floats(values, 32 * i, floats_of_bits(load_shorts(shorts, 64 * i, 32) << 16))
    for i in range(32 * n_vectors, values.size):
        store_floats(values, i, floats_of_bits(load_shorts(shorts, 2 * i, 1) << 16))


@inner
def _rounded(x: Any) -> Any:
    bits = bits_of_all(x)
    return (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
