"""F16 in machine code; see conversion/quants/f16.py. Without float16 in the CPU numpy does it."""

import numpy as np

from conversion.quants.kernels.bits import HAS_FLOAT16
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.vectors import load_floats, load_halves, store_floats, store_halves

if HAS_FLOAT16:

    @kernel
    def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
        values, data = rows.reshape(-1), out.reshape(-1)
        n_vectors = values.size // 32
        for i in range(n_vectors):
            store_halves(data, 64 * i, load_floats(values, 32 * i, 32))
        for i in range(32 * n_vectors, values.size):
            store_halves(data, 2 * i, load_floats(values, i, 1))
        return 0

    @kernel
    def dequantize(data: np.ndarray, out: np.ndarray) -> None:
        halves, values = data.reshape(-1), out.reshape(-1)
        n_vectors = values.size // 32
        for i in range(n_vectors):
            store_floats(values, 32 * i, load_halves(halves, 64 * i, 32))
        for i in range(32 * n_vectors, values.size):
            store_floats(values, i, load_halves(halves, 2 * i, 1))
