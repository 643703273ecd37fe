"""Q4_0, Q4_1, Q5_0 and Q5_1 with an importance matrix in machine code: 32 blocks are searched at once, one per lane.

The searches are told in conversion/quants/search.py, what is stored in thirty_two.py, the rows of a strip in strips.py;
here a block is the one group of 32 that its lane has.
"""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import allocating, inner
from conversion.quants.kernels.lanes import WIDTH, magnitude, root, select, splat, transpose
from conversion.quants.kernels.search import limited, rounded, scales_and_minima_search
from conversion.quants.kernels.simple import at_least, at_most, nearest
from conversion.quants.kernels.strips import (
    INVERSE,
    INVERSE_LOW,
    LEVEL,
    SCALE,
    SCRATCH,
    STARTS,
    WEIGHT,
    X,
    get,
    put,
)
from conversion.quants.kernels.vectors import load_floats
from conversion.quants.search import GROUP_MAX_EPS

SIZE, PRODUCT = 32, LEVEL
"""Elements of a block; rows of weights times elements, where a search keeps no levels."""

f32 = np.float32
search_pairs = scales_and_minima_search(SIZE, absolute=False)


@allocating
def row_powers(strip: Any, rows: np.ndarray) -> np.ndarray:
    """The mean square of each row. A sum in order waits for every addition, so 32 rows are added up side by side."""
    n_rows, n_cols = rows.shape
    values, starts, powers = rows.reshape(-1), np.empty(WIDTH, np.int64), np.empty(n_rows, np.float32)
    for first in range(0, n_rows, WIDTH):
        for lane in range(WIDTH):
            starts[lane] = n_cols * min(first + lane, n_rows - 1)
        total = splat(0.0)
        for column in range(0, n_cols, 16):
            transpose(values, starts, column, strip, X * WIDTH)
            for e in range(16):
                total = total + get(strip, X + e) * get(strip, X + e)
        put(strip, SCRATCH, total / splat(f32(n_cols)))
        for lane in range(min(WIDTH, n_rows - first)):
            powers[first + lane] = strip[SCRATCH * WIDTH + lane]
    return powers


@inner
def weigh_blocks(strip: Any, values: np.ndarray, weights: np.ndarray, powers: np.ndarray, first: int) -> None:
    """Transposes blocks first ... first + 31 and what their elements weigh.

    Where there are fewer blocks the last is repeated: its lanes are worked on and left.
    """
    n_blocks, blocks_per_row = values.size // SIZE, weights.size // SIZE
    starts = strip[STARTS * WIDTH : (STARTS + 2) * WIDTH].view(np.int64)
    for lane in range(WIDTH):
        block = min(first + lane, n_blocks - 1)
        starts[lane] = SIZE * block
        strip[SCRATCH * WIDTH + lane] = powers[block // blocks_per_row]
    for e in range(0, SIZE, 16):
        transpose(values, starts, e, strip, (X + e) * WIDTH)
    for lane in range(WIDTH):
        starts[lane] %= weights.size
    for e in range(0, SIZE, 16):
        transpose(weights, starts, e, strip, (WEIGHT + e) * WIDTH)
    power = get(strip, SCRATCH)
    for e in range(SIZE):
        x = get(strip, X + e)
        put(strip, WEIGHT + e, get(strip, WEIGHT + e) * root(power + x * x))


@inner
def search_scales(strip: Any, n_max: int) -> None:
    """Fills rows SCALE and INVERSE, which gives the quants; NaN in INVERSE is for a block that counts as all zero."""
    zero = splat(0.0)
    largest = zero
    for e in range(SIZE):
        x = get(strip, X + e)
        largest = select(magnitude(x) > magnitude(largest), x, largest)
        put(strip, PRODUCT + e, get(strip, WEIGHT + e) * x)
    best_inverse = splat(-f32(n_max)) / largest
    sum_lx, sum_l2 = _sums(strip, best_inverse, n_max)
    scale = select(sum_l2 == zero, zero, sum_lx / sum_l2)
    best = scale * sum_lx
    for step in range(-9, 10):
        if step != 0:
            inverse = splat(-(f32(n_max) + f32(0.1) * f32(step))) / largest
            sum_lx, sum_l2 = _sums(strip, inverse, n_max)
            better = (sum_l2 > zero) & (sum_lx * sum_lx > best * sum_l2)
            scale = select(better, sum_lx / sum_l2, scale)
            best = select(better, scale * sum_lx, best)
            best_inverse = select(better, inverse, best_inverse)
    is_zero = magnitude(largest) < splat(GROUP_MAX_EPS)
    put(strip, SCALE, select(is_zero, zero, scale))
    put(strip, INVERSE, select(is_zero, splat(f32(np.nan)), best_inverse))


@inner
def _sums(strip: Any, inverse: Any, n_max: int) -> Any:
    """No product exceeds n_max + 0.9, so that rounding needs no integers."""
    sum_lx, sum_l2 = splat(0.0), splat(0.0)
    lowest, highest = splat(-f32(n_max)), splat(f32(n_max - 1))
    for e in range(SIZE):
        level = limited(rounded(inverse * get(strip, X + e)), lowest, highest)
        sum_lx = sum_lx + get(strip, PRODUCT + e) * level
        sum_l2 = sum_l2 + get(strip, WEIGHT + e) * level * level
    return sum_lx, sum_l2


@inner
def quants_by_scale(strip: Any, lane: int, values: np.ndarray, at: int, n_max: int) -> Any:
    """The quants of the block at values[at], around n_max, as `search_scales` found them; 0 if it is all zero."""
    inverse = strip[INVERSE * WIDTH + lane]
    if np.isnan(inverse):
        return nearest(load_floats(values, at, 32) * f32(0))
    wanted = nearest(load_floats(values, at, 32) * inverse)
    return at_most(at_least(wanted, -n_max), n_max - 1) + n_max


@inner
def quants_by_pair(strip: Any, lane: int, values: np.ndarray, at: int, n_max: int) -> Any:
    """The quants of the block at values[at] as `search_pairs` found them."""
    inverse, low = strip[INVERSE * WIDTH + lane], strip[INVERSE_LOW * WIDTH + lane]
    return at_most(at_least(nearest((load_floats(values, at, 32) - low) * inverse), 0), n_max)


@inner
def in_lane(strip: Any, row: int, lane: int) -> float:
    return strip[row * WIDTH + lane]
