"""Q8_0 in machine code, one block at a time; layout and arithmetic are told in conversion/quants/q8_0.py."""

import numpy as np

from conversion.quants.kernels.bits import float_of, get_half, set_half
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.simple import away_from_zero
from conversion.quants.kernels.vectors import (
    bits_of_all,
    floats_of,
    load_floats,
    load_signed_bytes,
    max_of,
    store_bytes,
    store_floats,
)

f32 = np.float32


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    for block in range(values.size // 32):
        x = load_floats(values, 32 * block, 32)
        scale = float_of(max_of(bits_of_all(x) & 0x7FFFFFFF)) / f32(127)
        inverse = f32(1) / scale if scale != 0 else f32(0)
        set_half(data, 34 * block, scale)
        store_bytes(data, 34 * block + 2, away_from_zero(x * inverse))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // 32):
        scale = get_half(blocks, 34 * block)
        store_floats(values, 32 * block, floats_of(load_signed_bytes(blocks, 34 * block + 2, 32)) * scale)
