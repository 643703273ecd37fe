"""Q1_0 in machine code; layout and arithmetic are told in conversion/quants/q1_0.py.

A sum in order waits for every addition, so 32 blocks are added up side by side, one per lane.
"""

import numpy as np

from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.lanes import WIDTH, load, magnitude, splat, store, transpose
from conversion.quants.kernels.vectors import bits_of_mask, load_bits, load_floats, pick, store_floats

f32 = np.float32
BLOCK_SIZE, TYPE_SIZE = 128, 18


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_blocks = values.size // BLOCK_SIZE
    starts, x, means = (
        np.empty(WIDTH, np.int64),
        np.empty(16 * WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
    )
    for first in range(0, n_blocks, WIDTH):
        for lane in range(WIDTH):
            # Where there are fewer blocks the last is repeated: its lanes are worked on and left.
            starts[lane] = BLOCK_SIZE * min(first + lane, n_blocks - 1)
        _find_means(values, starts, x, means)
        for lane in range(min(WIDTH, n_blocks - first)):
            at = TYPE_SIZE * (first + lane)
            set_half(data, at, means[lane])
            for part in range(4):
                _put_signs(data, at + 2 + 4 * part, load_floats(values, starts[lane] + 32 * part, 32))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at, scale = TYPE_SIZE * block, get_half(blocks, TYPE_SIZE * block)
        for part in range(4):
            is_positive = load_bits(blocks, at + 2 + 4 * part, 32)
            store_floats(values, BLOCK_SIZE * block + 32 * part, pick(is_positive, scale, -scale))


@inner
def _find_means(values: np.ndarray, starts: np.ndarray, x: np.ndarray, means: np.ndarray) -> None:
    total = splat(0.0)
    for element in range(0, BLOCK_SIZE, 16):
        transpose(values, starts, element, x, 0)
        for e in range(16):
            total = total + magnitude(load(x, e * WIDTH))
    store(means, 0, total / splat(f32(BLOCK_SIZE)))


@inner
def _put_signs(data: np.ndarray, at: int, x: np.ndarray) -> None:
    bits = bits_of_mask(x >= f32(0))
    for i in range(4):
        data[at + i] = (bits >> (8 * i)) & 0xFF
