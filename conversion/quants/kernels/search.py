"""The searches of conversion/quants/search.py in machine code: 32 groups at once, one per lane.

They work on a strip (strips.py). Each lane does what ggml does for its block, in the same order; conditions choose
between results.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lanes import (
    is_all,
    is_any,
    larger,
    magnitude,
    nearest,
    select,
    smaller,
    splat,
    splat_int,
    to_float,
)
from conversion.quants.kernels.strips import (
    GROUP_WEIGHT,
    INVERSE,
    INVERSE_LOW,
    LEVEL,
    MINIMUM,
    SCALE,
    WEIGHT,
    X,
    get,
    put,
)
from conversion.quants.kernels.vectors import HAS_ROUNDING, whole
from conversion.quants.search import GROUP_MAX_EPS

f32 = np.float32


@inner
def fits_float(value: Any) -> Any:
    """Whether adding and taking off 1.5 * 2**23 rounds as ggml's nearest_int does; not if NaN."""
    return magnitude(value) <= splat(4194303.0)


@inner
def rounded_by_sum(value: Any) -> Any:
    """As `rounded`, on a CPU that has no instruction for it; nothing is rounded to -0."""
    return (value + splat(12582912.0)) - splat(12582912.0)


rounded = whole if HAS_ROUNDING else rounded_by_sum
"""The nearest whole numbers as float32, halves to even, where `fits_float`. Small negative numbers become -0, which
makes no difference to what is done with it: it is limited, added, or multiplied and then added to +0."""


@inner
def limited(level: Any, lowest: Any, highest: Any) -> Any:
    return smaller(larger(level, lowest), highest)


Part = Callable[..., Any]


def _levels_of(size: int) -> Part:
    @inner
    def find_levels(strip: Any, at: int, inverse: Any, low: Any, n_max: int) -> None:
        for e in range(size):
            wanted = nearest(inverse * (get(strip, X + at + e) - low))
            put(strip, LEVEL + e, to_float(limited(wanted, splat_int(0), splat_int(n_max))))

    return find_levels


def _sums_of(size: int) -> tuple[Part, Part]:
    """Both fill `level` and give the sums of w * level, w * level * level and w * level * x."""
    find_levels = _levels_of(size)

    @inner
    def sums_by_nearest(strip: Any, at: int, inverse: Any, low: Any, n_max: int) -> Any:
        find_levels(strip, at, inverse, low, n_max)
        sum_l, sum_l2, sum_xl = splat(0.0), splat(0.0), splat(0.0)
        for e in range(size):
            number = get(strip, LEVEL + e)
            weighted = get(strip, WEIGHT + e) * number
            sum_l = sum_l + weighted
            sum_l2 = sum_l2 + weighted * number
            sum_xl = sum_xl + weighted * get(strip, X + at + e)
        return sum_l, sum_l2, sum_xl

    @inner
    def sums_by_rounding(strip: Any, at: int, inverse: Any, low: Any, n_max: int) -> Any:
        zero, top = splat(0.0), splat(f32(n_max))
        sum_l, sum_l2, sum_xl = zero, zero, zero
        for e in range(size):
            value = get(strip, X + at + e)
            number = limited(rounded(inverse * (value - low)), zero, top)
            put(strip, LEVEL + e, number)
            weighted = get(strip, WEIGHT + e) * number
            sum_l = sum_l + weighted
            sum_l2 = sum_l2 + weighted * number
            sum_xl = sum_xl + weighted * value
        return sum_l, sum_l2, sum_xl

    return sums_by_nearest, sums_by_rounding


def _outline_of(size: int) -> Part:
    @inner
    def outline(strip: Any, at: int) -> Any:
        """The smallest and the largest element, and the sums of w and of w * x."""
        lowest = highest = get(strip, X + at)
        sum_w = get(strip, WEIGHT)
        sum_x = sum_w * lowest
        for e in range(1, size):
            value, w = get(strip, X + at + e), get(strip, WEIGHT + e)
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
            difference = scale * get(strip, LEVEL + e) + low - get(strip, X + at + e)
            deviation = magnitude(difference) if absolute else difference * difference
            error = error + get(strip, WEIGHT + e) * deviation
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
        zero, one, at = splat(0.0), splat(1.0), group * size
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
        put(strip, SCALE + group, select(is_flat, zero, scale))
        put(strip, MINIMUM + group, splat(-1.0) * low)
        put(strip, INVERSE + group, select(is_flat, zero, best_inverse))
        put(strip, INVERSE_LOW + group, best_low)
        put(strip, GROUP_WEIGHT + group, sum_w)

    return search


@inner
def search_positive_scales(strip: Any, values: int, codes: int, n_values: int, n_max: int) -> Any:
    """The scale of n_values rows from `values` on; their codes, 0 … 255, fill the rows from `codes` on.

    (make_qp_quants, weighted by the rows of GROUP_WEIGHT.)
    """
    zero = splat(0.0)
    largest = zero
    for i in range(n_values):
        largest = larger(largest, get(strip, values + i))
    is_zero = largest < splat(GROUP_MAX_EPS)
    inverse = splat(f32(n_max)) / largest
    best = zero
    for i in range(n_values):
        x = get(strip, values + i)
        code = to_float(nearest(inverse * x) & splat_int(255))
        difference = x - (splat(1.0) / inverse) * code
        best = best + get(strip, GROUP_WEIGHT + i) * difference * difference
    for step in range(-4, 5):
        if step == 0:
            continue
        tried = splat(f32(f32(0.1) * f32(step)) + f32(n_max)) / largest
        scale = splat(1.0) / tried
        error = zero
        for i in range(n_values):
            x = get(strip, values + i)
            difference = x - scale * to_float(smaller(nearest(tried * x), splat_int(n_max)))
            error = error + get(strip, GROUP_WEIGHT + i) * difference * difference
        better = error < best
        best, inverse = select(better, error, best), select(better, tried, inverse)
    for i in range(n_values):
        put(strip, codes + i, to_float(smaller(nearest(inverse * get(strip, values + i)), splat_int(n_max))))
    scale = _refine_positive_scales(strip, values, codes, n_values, n_max)
    for i in range(n_values):
        put(strip, codes + i, select(is_zero, zero, get(strip, codes + i)))
    return select(is_zero, zero, scale)


@inner
def _refine_positive_scales(strip: Any, values: int, codes: int, n_values: int, n_max: int) -> Any:
    zero, low_byte = splat(0.0), splat_int(255)
    sum_lx, sum_l2 = zero, zero
    for i in range(n_values):
        x, w = get(strip, values + i), get(strip, GROUP_WEIGHT + i)
        number = get(strip, codes + i)
        sum_lx = sum_lx + w * x * number
        sum_l2 = sum_l2 + w * number * number
        put(strip, codes + i, to_float(nearest(number) & low_byte))
    for _ in range(5):
        is_settled = True
        for i in range(n_values):
            x, w, code = get(strip, values + i), get(strip, GROUP_WEIGHT + i), get(strip, codes + i)
            lx, l2 = sum_lx - w * x * code, sum_l2 - w * code * code
            wanted = smaller(nearest(x * l2 / lx), splat_int(n_max))
            number = to_float(wanted)
            moves = (lx > zero) & (l2 > zero) & ((number < code) | (number > code))
            lx, l2 = lx + w * x * number, l2 + w * number * number
            moves = moves & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            put(strip, codes + i, select(moves, to_float(wanted & low_byte), code))
            sum_lx, sum_l2 = select(moves, lx, sum_lx), select(moves, l2, sum_l2)
            is_settled = is_settled and not is_any(moves)
        if is_settled:
            break
    return select(sum_l2 > zero, sum_lx / sum_l2, zero)
