"""What IQ1_S and IQ1_M share in machine code: order by size, and the points for a cut; 32 runs at once, one per lane.

What is computed is told in conversion/quants/ternary.py. The strips are those of the IQ2 types (kernels/iq2.py).
"""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lanes import (
    WIDTH,
    larger,
    load,
    magnitude,
    select,
    splat,
    splat_int,
    store,
    to_float,
    transpose,
)
from conversion.quants.kernels.lattice import nearest, neighbour
from conversion.quants.kernels.vectors import load_floats, store_floats
from conversion.quants.ternary import DELTA, LEVELS

f32 = np.float32


@inner
def prepare_runs(strip: Any, zero_below: float) -> None:
    """Fills `runs` with values and weights, and `is_live`: whether the largest magnitude is `zero_below` or more."""
    size = strip.x.size // WIDTH
    largest = splat(0.0)
    for e in range(size):
        largest = larger(magnitude(load(strip.x, e * WIDTH)), largest)
    for e in range(WIDTH):
        strip.starts[e] = e % size * WIDTH
    for first in (0, WIDTH // 2):
        transpose(strip.x, strip.starts, first, strip.runs, first * WIDTH)
        transpose(strip.weight, strip.starts, first, strip.runs, (WIDTH + first) * WIDTH)
    store(strip.is_live, 0, select(largest < splat(zero_below), splat_int(0), splat_int(1)))
    store(strip.is_aborted, 0, splat_int(0))


@inner
def ranks(strip: Any, rank: np.ndarray) -> None:
    """Fills `rank` with the place of each element in order of size; equal ones keep their order."""
    size, one, none = strip.x.size // WIDTH, splat_int(1), splat_int(0)
    for e in range(size):
        x, place = load(strip.x, e * WIDTH), none
        for other in range(e):
            place = place + select(load(strip.x, other * WIDTH) <= x, one, none)
        for other in range(e + 1, size):
            place = place + select(load(strip.x, other * WIDTH) < x, one, none)
        store(rank, e * WIDTH, place)


@inner
def put_in_order(rank: np.ndarray, values: np.ndarray, ordered: np.ndarray) -> None:
    """Lays the elements of every lane out by their ranks."""
    for e in range(0, values.size, WIDTH):
        for lane in range(WIDTH):
            ordered[rank[e + lane] * WIDTH + lane] = values[e + lane]


@inner
def tried(best: Any, sum_x: Any, sum_square: Any, number: int) -> Any:
    """(scale, worth, number) of the best cut, after one more was tried."""
    scale, worth, found = best
    better = (sum_square > splat(0.0)) & (sum_x * sum_x > worth * sum_square)
    scale = select(better, sum_x / sum_square, scale)
    return scale, select(better, scale * sum_x, worth), select(better, splat_int(number), found)


@inner
def cut_codes(strip: Any, rank: np.ndarray, low: Any, middle: Any, is_turned: Any) -> None:
    """Fills `codes`: the first `low` values in order become the digit 0, those from `middle` on 2, the others 1."""
    one, two, none = splat_int(1), splat_int(2), splat_int(0)
    for group in range(strip.codes.size // WIDTH):
        code = none
        for i in range(8):
            place = load(rank, (8 * group + i) * WIDTH)
            digit = select(place >= low, one, none) + select(place >= middle, one, none)
            digit = select(is_turned, two - digit, digit)
            code = code | (digit << splat_int(2 * i))
        store(strip.codes, group * WIDTH, code)


@inner
def find_shifted_points(strip: Any, entry: np.ndarray, points: np.ndarray) -> None:
    """As iq2.find_points, by `scale`; `signs` has the shift of each group, as ternary.LEVELS numbers them."""
    for group in range(strip.codes.size // WIDTH):
        for lane in range(WIDTH):
            at = group * WIDTH + lane
            found = entry[strip.codes[at]]
            strip.beside[at] = found < 0 and strip.is_live[lane] != 0
            if strip.beside[at]:
                scale, way, x = strip.scale[lane], strip.signs[at], lane * WIDTH + 8 * group
                levels = (scale * LEVELS[way, 0], scale * LEVELS[way, 1], scale * LEVELS[way, 2])
                best = neighbour(points, -1 - found, strip.runs, x, x + WIDTH * WIDTH, levels)
                strip.codes[at] = max(best, 0)
                strip.is_aborted[lane] |= best < 0


@inner
def fit_shifted(strip: Any) -> None:
    """Puts into `scale` the one that fits the points where some were beside the grid."""
    zero, none, three = splat(0.0), splat_int(0), splat_int(3)
    sum_x, sum_square, beside = zero, zero, none
    for group in range(strip.codes.size // WIDTH):
        code = load(strip.codes, group * WIDTH)
        is_down = load(strip.signs, group * WIDTH) != none
        beside = beside | load(strip.beside, group * WIDTH)
        for i in range(8):
            at = (8 * group + i) * WIDTH
            digit = to_float((code >> splat_int(2 * i)) & three) - splat(1.0)
            level = digit + select(is_down, splat(-DELTA), splat(DELTA))
            weighted = load(strip.weight, at) * level
            sum_x = sum_x + weighted * load(strip.x, at)
            sum_square = sum_square + weighted * level
    fits = (beside != none) & (sum_x > zero) & (sum_square > zero)
    store(strip.scale, 0, select(fits, sum_x / sum_square, load(strip.scale, 0)))


@inner
def put_scales(strip: Any, lane: int, per_block: int, steps: np.ndarray) -> float:
    """Fills `steps` with the three bits of each run of the block that begins at `lane`; gives back d, 0 if all are."""
    largest = f32(0)
    for run in range(per_block):
        largest = max(largest, strip.scale[lane + run])
    d = largest / f32(15)
    inverse = f32(1) / d
    for run in range(per_block):
        step = nearest(f32(0.5) * (inverse * strip.scale[lane + run] - f32(1)))
        steps[run] = max(0, min(7, step)) if largest != 0 else 0
    return d


@inner
def decode_shifted(  # noqa: PLR0917 - by position, as numba inlines it best
    values: Any, at: int, scale: float, of_points: Any, number: int, delta: float
) -> None:
    """Eight values: scale * (level + delta)."""
    store_floats(values, at, (load_floats(of_points, 8 * number, 8) + delta) * scale)
