"""Q4_0 in machine code; layout and arithmetic are told in conversion/quants/q4_0.py."""

import numpy as np

from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import allocating, inner, kernel
from conversion.quants.kernels.lanes import WIDTH
from conversion.quants.kernels.searched import (
    in_lane,
    quants_by_scale,
    row_powers,
    search_scales,
    weigh_blocks,
)
from conversion.quants.kernels.simple import high_quants, low_quants, put_nibbles, signed_quants
from conversion.quants.kernels.strips import SCALE, make_strip
from conversion.quants.kernels.vectors import floats_of, store_floats

N_MAX, TYPE_SIZE = 8, 18


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    if weights.size:
        _search(rows, weights, data)
    else:
        for block in range(values.size // 32):
            scale, quants = signed_quants(values, 32 * block, N_MAX)
            _put(data, TYPE_SIZE * block, scale, quants)
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // 32):
        at = TYPE_SIZE * block
        scale = get_half(blocks, at)
        low, high = low_quants(blocks, at + 2), high_quants(blocks, at + 2)
        store_floats(values, 32 * block, floats_of(low - 8) * scale)
        store_floats(values, 32 * block + 16, floats_of(high - 8) * scale)


@allocating
def _search(rows: np.ndarray, weights: np.ndarray, data: np.ndarray) -> None:
    values, strip = rows.reshape(-1), make_strip()
    powers, n_blocks = row_powers(strip, rows), values.size // 32
    for first in range(0, n_blocks, WIDTH):
        weigh_blocks(strip, values, weights, powers, first)
        search_scales(strip, N_MAX)
        for lane in range(min(WIDTH, n_blocks - first)):
            quants = quants_by_scale(strip, lane, values, 32 * (first + lane), N_MAX)
            _put(data, TYPE_SIZE * (first + lane), in_lane(strip, SCALE, lane), quants)


@inner
def _put(data: np.ndarray, at: int, scale: float, quants: np.ndarray) -> None:
    set_half(data, at, scale)
    put_nibbles(data, at + 2, quants)
