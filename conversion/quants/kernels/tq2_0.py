"""TQ2_0 in machine code; layout and arithmetic are told in conversion/quants/tq2_0.py."""

import numpy as np

from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.simple import away_from_zero
from conversion.quants.kernels.trits import BLOCK_SIZE, scale_and_inverse
from conversion.quants.kernels.vectors import floats_of, load_bytes, load_floats, store_bytes, store_floats

TYPE_SIZE = 66


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        scale, inverse = scale_and_inverse(values, BLOCK_SIZE * block)
        for half in range(2):
            x = BLOCK_SIZE * block + 128 * half
            packed = away_from_zero(load_floats(values, x, 32) * inverse) + 1
            for k in range(1, 4):
                quants = away_from_zero(load_floats(values, x + 32 * k, 32) * inverse) + 1
                packed = packed | (quants << (2 * k))
            store_bytes(data, at + 32 * half, packed)
        set_half(data, at + 64, scale)
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        scale = get_half(blocks, at + 64)
        for half in range(2):
            packed = load_bytes(blocks, at + 32 * half, 32)
            for k in range(4):
                quants = (packed >> (2 * k)) & 3
                store_floats(values, BLOCK_SIZE * block + 128 * half + 32 * k, floats_of(quants - 1) * scale)
