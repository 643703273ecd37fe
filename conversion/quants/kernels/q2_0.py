"""Q2_0 in machine code; layout and arithmetic are told in conversion/quants/q2_0.py."""

import numpy as np

from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.simple import at_least, at_most, away_from_zero, inverse_of, largest_magnitude
from conversion.quants.kernels.vectors import (
    counting,
    every,
    floats_of,
    load_bytes,
    load_floats,
    repeated,
    store_bytes,
    store_floats,
)

BLOCK_SIZE, TYPE_SIZE = 64, 18


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        x, at = load_floats(values, BLOCK_SIZE * block, 64), TYPE_SIZE * block
        scale = largest_magnitude(x)
        inverse = inverse_of(scale)
        # Where the inverse is infinite, C's cast leads to 0.
        offset = np.int32(1) if inverse != 0 or scale == 0 else np.int32(0)
        quants = at_most(at_least(away_from_zero(x * inverse) + offset, 0), 3)
        low = every(quants, 0, 4) | (every(quants, 1, 4) << 2)
        set_half(data, at, scale)
        store_bytes(data, at + 2, low | (every(quants, 2, 4) << 4) | (every(quants, 3, 4) << 6))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    shifts = (counting(64) & 3) << 1
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        quants = (repeated(load_bytes(blocks, at + 2, 16), 4) >> shifts) & 3
        store_floats(values, BLOCK_SIZE * block, floats_of(quants - 1) * get_half(blocks, at))
