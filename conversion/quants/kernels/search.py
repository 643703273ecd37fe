"""The searches of conversion/quants/search.py in machine code: 32 groups at once, one per lane.

A strip is 32 blocks of 256. In its arrays a row is what 32 blocks have in the same place: `x[32 * e + lane]` is element
e of block `lane`, `scale[32 * g + lane]` the scale of its group g. Each lane does what ggml does for its block, in the
same order; conditions choose between results.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lanes import (
    WIDTH,
    is_all,
    is_any,
    larger,
    load,
    magnitude,
    nearest,
    select,
    smaller,
    splat,
    splat_int,
    store,
    to_float,
    transpose,
)
from conversion.quants.search import GROUP_MAX_EPS

BLOCK_SIZE = 256
f32 = np.float32


class Strip(NamedTuple):
    """Scratch for 32 blocks; it fits the caches next to a core. One row of `x` per element, of the rest per group."""

    starts: np.ndarray
    x: np.ndarray
    importance: np.ndarray
    weight: np.ndarray
    level: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray
    inverse: np.ndarray
    inverse_low: np.ndarray
    group_weight: np.ndarray
    code: np.ndarray
    minimum_code: np.ndarray


@inner
def make_strip(n_groups: int, n_levels: int, has_importance: bool) -> Any:
    """`n_levels`: for how many elements the search keeps its numbers."""
    per_group = n_groups * WIDTH
    return Strip(
        np.empty(WIDTH, np.int64),
        np.empty(BLOCK_SIZE * WIDTH, np.float32),
        np.empty(BLOCK_SIZE * WIDTH if has_importance else 0, np.float32),
        np.empty(32 * WIDTH, np.float32),
        np.empty(n_levels * WIDTH, np.float32),
        np.empty(per_group, np.float32),
        np.empty(per_group, np.float32),
        np.empty(per_group, np.float32),
        np.empty(per_group, np.float32),
        np.empty(per_group, np.float32),
        np.empty(per_group, np.float32),
        np.empty(per_group, np.float32),
    )


@inner
def fill_strip(strip: Any, values: Any, weights: Any, first: int, n_blocks: int) -> None:
    """Transposes blocks first … first + 31, and the importance of their columns if there is any.

    Where there are fewer blocks the last is repeated: its lanes are worked on and left.
    """
    for lane in range(WIDTH):
        strip.starts[lane] = BLOCK_SIZE * min(first + lane, n_blocks - 1)
    for element in range(0, BLOCK_SIZE, 16):
        transpose(values, strip.starts, element, strip.x, element * WIDTH)
    if weights.size:
        for lane in range(WIDTH):
            strip.starts[lane] %= weights.size
        for element in range(0, BLOCK_SIZE, 16):
            transpose(weights, strip.starts, element, strip.importance, element * WIDTH)


@inner
def mean_square(strip: Any, factor: float) -> Any:
    """factor * (the sum of the squares of each block) / 256."""
    total = splat(0.0)
    for element in range(BLOCK_SIZE):
        x = load(strip.x, element * WIDTH)
        total = total + x * x
    return splat(factor) * total / splat(256.0)


@inner
def fits_float(value: Any) -> Any:
    """Whether adding and taking off 1.5 * 2**23 rounds as ggml's nearest_int does; not if NaN."""
    return magnitude(value) <= splat(4194303.0)


@inner
def rounded(value: Any) -> Any:
    """The nearest whole numbers as float32, halves to even, where `fits_float`."""
    return (value + splat(12582912.0)) - splat(12582912.0)


@inner
def limited(level: Any, lowest: Any, highest: Any) -> Any:
    return smaller(larger(level, lowest), highest)


Part = Callable[..., Any]


def _levels_of(size: int) -> Part:
    @inner
    def find_levels(strip: Any, at: int, inverse: Any, low: Any, n_max: int) -> None:
        for e in range(size):
            wanted = nearest(inverse * (load(strip.x, (at + e) * WIDTH) - low))
            store(strip.level, e * WIDTH, to_float(limited(wanted, splat_int(0), splat_int(n_max))))

    return find_levels


def _sums_of(size: int) -> tuple[Part, Part]:
    """Both fill `level` and give the sums of w * level, w * level * level and w * level * x."""
    find_levels = _levels_of(size)

    @inner
    def sums_by_nearest(strip: Any, at: int, inverse: Any, low: Any, n_max: int) -> Any:
        find_levels(strip, at, inverse, low, n_max)
        sum_l, sum_l2, sum_xl = splat(0.0), splat(0.0), splat(0.0)
        for e in range(size):
            number = load(strip.level, e * WIDTH)
            weighted = load(strip.weight, e * WIDTH) * number
            sum_l = sum_l + weighted
            sum_l2 = sum_l2 + weighted * number
            sum_xl = sum_xl + weighted * load(strip.x, (at + e) * WIDTH)
        return sum_l, sum_l2, sum_xl

    @inner
    def sums_by_rounding(strip: Any, at: int, inverse: Any, low: Any, n_max: int) -> Any:
        zero, top = splat(0.0), splat(f32(n_max))
        sum_l, sum_l2, sum_xl = zero, zero, zero
        for e in range(size):
            value = load(strip.x, (at + e) * WIDTH)
            number = limited(rounded(inverse * (value - low)), zero, top)
            store(strip.level, e * WIDTH, number)
            weighted = load(strip.weight, e * WIDTH) * number
            sum_l = sum_l + weighted
            sum_l2 = sum_l2 + weighted * number
            sum_xl = sum_xl + weighted * value
        return sum_l, sum_l2, sum_xl

    return sums_by_nearest, sums_by_rounding


def _outline_of(size: int) -> Part:
    @inner
    def outline(strip: Any, at: int) -> Any:
        """The smallest and the largest element, and the sums of w and of w * x."""
        lowest = highest = load(strip.x, at * WIDTH)
        sum_w = load(strip.weight, 0)
        sum_x = sum_w * lowest
        for e in range(1, size):
            value, w = load(strip.x, (at + e) * WIDTH), load(strip.weight, e * WIDTH)
            lowest, highest = smaller(value, lowest), larger(value, highest)
            sum_w = sum_w + w
            sum_x = sum_x + w * value
        return lowest, highest, sum_w, sum_x

    return outline


def _error_of(size: int, absolute: bool) -> Part:
    @inner
    def error_of(strip: Any, at: int, scale: Any, low: Any) -> Any:
        """The weighted error of the levels."""
        error = splat(0.0)
        for e in range(size):
            difference = scale * load(strip.level, e * WIDTH) + low - load(strip.x, (at + e) * WIDTH)
            deviation = magnitude(difference) if absolute else difference * difference
            error = error + load(strip.weight, e * WIDTH) * deviation
        return error

    return error_of


def scales_and_minima_search(size: int, *, absolute: bool) -> Part:
    """The search for groups of `size`, by absolute or by squared error (make_qkx2_quants, make_qkx3_quants)."""
    outline, find_levels, error_of = _outline_of(size), _levels_of(size), _error_of(size, absolute)
    sums_by_nearest, sums_by_rounding = _sums_of(size)

    @inner
    def search(strip: Any, group: int, n_max: int, tries: Any) -> None:
        """Fills row `group` of scale and minimum, of inverse and inverse_low, which give the quants of the search
        (nearest(inverse * (x - inverse_low)), within limits), and of group_weight."""
        zero, one, at, row = splat(0.0), splat(1.0), group * size, group * WIDTH
        lowest, highest, sum_w, sum_x = outline(strip, at)
        low = select(lowest > zero, zero, lowest)  # which keeps -0, as C does
        is_flat = highest == low
        inverse = splat(f32(n_max)) / select(is_flat, one, highest - low)
        find_levels(strip, at, inverse, low, n_max)
        scale = one / inverse
        best = error_of(strip, at, scale, low)
        best_inverse, best_low = inverse, low
        for step in range(tries.n_tries):
            offset = f32(f32(tries.first) + f32(tries.delta) * f32(step)) + f32(n_max)
            inverse = splat(offset) / select(is_flat, one, highest - low)
            # Rounding keeps the order of numbers, so if the outermost elements fit, all do.
            if is_all(fits_float(inverse * (lowest - low)) & fits_float(inverse * (highest - low))):
                sum_l, sum_l2, sum_xl = sums_by_rounding(strip, at, inverse, low, n_max)
            else:
                sum_l, sum_l2, sum_xl = sums_by_nearest(strip, at, inverse, low, n_max)
            determinant = sum_w * sum_l2 - sum_l * sum_l
            fitted_low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
            is_above = fitted_low > zero
            numerator = select(is_above, sum_xl, sum_w * sum_xl - sum_x * sum_l)
            fitted = numerator / select(is_above, sum_l2, determinant)
            fitted_low = select(is_above, zero, fitted_low)
            error = error_of(strip, at, fitted, fitted_low)
            better = (determinant > zero) & (error < best)
            best, scale = select(better, error, best), select(better, fitted, scale)
            best_inverse, best_low = select(better, inverse, best_inverse), select(better, low, best_low)
            low = select(better, fitted_low, low)
        store(strip.scale, row, select(is_flat, zero, scale))
        store(strip.minimum, row, splat(-1.0) * low)
        store(strip.inverse, row, select(is_flat, zero, best_inverse))
        store(strip.inverse_low, row, best_low)
        store(strip.group_weight, row, sum_w)

    return search


@inner
def search_positive_scales(values: Any, weights: Any, codes: Any, n_max: int) -> Any:
    """The scale of the rows of `values`, whose codes, 0 … 255 as float32, fill `codes` (make_qp_quants)."""
    zero, n_values = splat(0.0), values.size // WIDTH
    largest = zero
    for i in range(n_values):
        largest = larger(largest, load(values, i * WIDTH))
    is_zero = largest < splat(GROUP_MAX_EPS)
    inverse = splat(f32(n_max)) / largest
    best = zero
    for i in range(n_values):
        x = load(values, i * WIDTH)
        code = to_float(nearest(inverse * x) & splat_int(255))
        difference = x - (splat(1.0) / inverse) * code
        best = best + load(weights, i * WIDTH) * difference * difference
    for step in range(-4, 5):
        if step == 0:
            continue
        tried = splat(f32(f32(0.1) * f32(step)) + f32(n_max)) / largest
        scale = splat(1.0) / tried
        error = zero
        for i in range(n_values):
            x = load(values, i * WIDTH)
            difference = x - scale * to_float(smaller(nearest(tried * x), splat_int(n_max)))
            error = error + load(weights, i * WIDTH) * difference * difference
        better = error < best
        best, inverse = select(better, error, best), select(better, tried, inverse)
    scale = _refine_positive_scales(values, weights, codes, n_max, inverse)
    for i in range(n_values):
        store(codes, i * WIDTH, select(is_zero, zero, load(codes, i * WIDTH)))
    return select(is_zero, zero, scale)


@inner
def _refine_positive_scales(values: Any, weights: Any, codes: Any, n_max: int, inverse: Any) -> Any:
    zero, low_byte, n_values = splat(0.0), splat_int(255), values.size // WIDTH
    sum_lx, sum_l2 = zero, zero
    for i in range(n_values):
        x, w = load(values, i * WIDTH), load(weights, i * WIDTH)
        wanted = smaller(nearest(inverse * x), splat_int(n_max))
        number = to_float(wanted)
        sum_lx = sum_lx + w * x * number
        sum_l2 = sum_l2 + w * number * number
        store(codes, i * WIDTH, to_float(wanted & low_byte))
    for _ in range(5):
        is_settled = True
        for i in range(n_values):
            x, w, code = load(values, i * WIDTH), load(weights, i * WIDTH), load(codes, i * WIDTH)
            lx, l2 = sum_lx - w * x * code, sum_l2 - w * code * code
            wanted = smaller(nearest(x * l2 / lx), splat_int(n_max))
            number = to_float(wanted)
            moves = (lx > zero) & (l2 > zero) & ((number < code) | (number > code))
            lx, l2 = lx + w * x * number, l2 + w * number * number
            moves = moves & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            store(codes, i * WIDTH, select(moves, to_float(wanted & low_byte), code))
            sum_lx, sum_l2 = select(moves, lx, sum_lx), select(moves, l2, sum_l2)
            is_settled = is_settled and not is_any(moves)
        if is_settled:
            break
    return select(sum_l2 > zero, sum_lx / sum_l2, zero)
