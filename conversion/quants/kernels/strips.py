"""The scratch of the K-quant kernels: 32 blocks side by side, one per lane.

A strip is rows of 32 float32 numbers, one per block of 256. Row `X + e` is element e of each block, row `SCALE + g` the
scale of its group g.
"""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import allocating, inner
from conversion.quants.kernels.lanes import WIDTH, halves, load, splat, store, transpose

BLOCK_SIZE = 256

X, LEVEL, WEIGHT = 0, 264, 536
"""Rows of elements: 256 of each block, and of what the search made of them (or only those of one group); 32 of the
weights of one group. The gaps keep the rows of one element apart by anything but a multiple of 4096 bytes: else the CPU
takes a load for one of what was just stored, and waits (Q4_K: a fifth slower)."""

MAX_GROUPS = 16
SCALE, MINIMUM, INVERSE, INVERSE_LOW, GROUP_WEIGHT, CODE, MINIMUM_CODE = range(568, 680, MAX_GROUPS)
"""Rows of groups. Codes are the numbers that stand for scales and minima in a block."""

D, DMIN, SCRATCH, STARTS = range(680, 684)
N_ROWS = STARTS + 2
"""Rows of blocks: what the codes of scales and of minima are multiplied by; where each lane begins, as int64."""

_LINE = 64


@allocating
def make_strip() -> Any:
    """88 KB, of which a search uses few at a time. Rows begin at cache lines: to load from two takes twice as long."""
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
def fill_strip(strip: Any, values: Any, first: int, n_blocks: int) -> None:
    """Transposes blocks first … first + 31.

    Where there are fewer blocks the last is repeated: its lanes are worked on and left.
    """
    starts = strip[STARTS * WIDTH : (STARTS + 2) * WIDTH].view(np.int64)
    for lane in range(WIDTH):
        starts[lane] = BLOCK_SIZE * min(first + lane, n_blocks - 1)
    for e in range(0, BLOCK_SIZE, 16):
        transpose(values, starts, e, strip, (X + e) * WIDTH)


@allocating
def transposed_importance(weights: Any, n_blocks: int) -> Any:
    """float32 (256, ...): column b is the importance of block b's elements; no columns if there is none.

    All rows have the same, so there is a column for each block of a row, and 31 more that begin again: a strip has
    those from its first block's on. To transpose them for every strip took a twentieth of Q6_K's time.
    """
    n_columns = weights.size // BLOCK_SIZE
    n_needed = min(n_columns + WIDTH - 1, n_blocks) if n_columns else 0
    n_tiles = (n_needed + WIDTH - 1) // WIDTH
    table = np.empty((BLOCK_SIZE, n_tiles * WIDTH + (16 if n_tiles else 0)), np.float32)
    starts, tile = np.empty(WIDTH, np.int64), np.empty(16 * WIDTH, np.float32)
    for first in range(0, n_tiles * WIDTH, WIDTH):
        for lane in range(WIDTH):
            starts[lane] = BLOCK_SIZE * ((first + lane) % n_columns)
        for e in range(0, BLOCK_SIZE, 16):
            transpose(weights, starts, e, tile, 0)
            for i in range(16):
                store(table[e + i], first, load(tile, i * WIDTH))
    return table


@inner
def mean_square(strip: Any, factor: float) -> Any:
    """factor * (the sum of the squares of each block) / 256."""
    total = splat(0.0)
    for e in range(BLOCK_SIZE):
        x = get(strip, X + e)
        total = total + x * x
    return splat(factor) * total / splat(256.0)
