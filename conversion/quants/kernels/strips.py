"""The scratch of the K-quant kernels: 32 blocks side by side, one per lane.

A strip is rows of 32 float32 numbers, one per block of 256. Row `X + e` is element e of each block, row `SCALE + g` the
scale of its group g.
"""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import allocating, inner
from conversion.quants.kernels.lanes import WIDTH, halves, load, splat, store, transpose

BLOCK_SIZE = 256

X, IMPORTANCE, LEVEL, WEIGHT = 0, 256, 520, 792
"""Rows of elements: 256 of each block, of the importance of their columns, and of what the search made of them (or only
those of one group); 32 of the weights of one group. The gaps keep the rows of one element apart by anything but a
multiple of 4096 bytes: else the CPU takes a load for one of what was just stored, and waits (Q4_K: a fifth slower)."""

MAX_GROUPS = 16
SCALE, MINIMUM, INVERSE, INVERSE_LOW, GROUP_WEIGHT, CODE, MINIMUM_CODE = range(824, 936, MAX_GROUPS)
"""Rows of groups. Codes are the numbers that stand for scales and minima in a block."""

D, DMIN, SCRATCH, STARTS = range(936, 940)
N_ROWS = STARTS + 2
"""Rows of blocks: what the codes of scales and of minima are multiplied by; where each lane begins, as int64."""

_LINE = 64


@allocating
def make_strip() -> Any:
    """120 KB, of which a search uses few at a time. Rows begin at cache lines: to load from two takes twice as long."""
    memory = np.empty(N_ROWS * WIDTH + _LINE // 4, np.float32)
    first = (-memory.ctypes.data) % _LINE // 4
    return memory[first : first + N_ROWS * WIDTH]


@inner
def get(strip: Any, row: int) -> Any:
    return load(strip, row * WIDTH)


@inner
def put(strip: Any, row: int, lanes: Any) -> None:
    store(strip, row * WIDTH, lanes)


@inner
def two_of(strip: Any, row: int, lane: int) -> Any:
    """One lane of a row in the first sixteen lanes, of the next row in the last: two groups of one block."""
    return halves(strip[row * WIDTH + lane], strip[(row + 1) * WIDTH + lane])


@inner
def fill_strip(strip: Any, values: Any, weights: Any, first: int, n_blocks: int) -> None:
    """Transposes blocks first … first + 31, and the importance of their columns if there is any.

    Where there are fewer blocks the last is repeated: its lanes are worked on and left.
    """
    starts = strip[STARTS * WIDTH : (STARTS + 2) * WIDTH].view(np.int64)
    for lane in range(WIDTH):
        starts[lane] = BLOCK_SIZE * min(first + lane, n_blocks - 1)
    for e in range(0, BLOCK_SIZE, 16):
        transpose(values, starts, e, strip, (X + e) * WIDTH)
    if weights.size:
        for lane in range(WIDTH):
            starts[lane] %= weights.size
        for e in range(0, BLOCK_SIZE, 16):
            transpose(weights, starts, e, strip, (IMPORTANCE + e) * WIDTH)


@inner
def mean_square(strip: Any, factor: float) -> Any:
    """factor * (the sum of the squares of each block) / 256."""
    total = splat(0.0)
    for e in range(BLOCK_SIZE):
        x = get(strip, X + e)
        total = total + x * x
    return splat(factor) * total / splat(256.0)
