"""The searches for one signed scale per group of 16 (conversion/quants/search.py), 32 groups at once, one per lane."""

from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lanes import (
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
from conversion.quants.kernels.search import Part, limited
from conversion.quants.kernels.strips import LEVEL, SCALE, SCRATCH, WEIGHT, X, get, put
from conversion.quants.search import GROUP_MAX_EPS

GROUP, N_GROUPS = 16, 16
PRODUCT = WEIGHT + GROUP
"""Rows of weights times elements."""

f32 = np.float32


@inner
def nearest_as_float(value: Any) -> Any:
    """ggml's nearest_int for any value; see search.rounded for those that are known to be small."""
    return to_float(nearest(value))


@inner
def first_largest(strip: Any, row: int) -> Any:
    """The first of 16 values of largest magnitude; +0 where there is none, or only NaN."""
    largest = splat(0.0)
    for i in range(GROUP):
        value = get(strip, row + i)
        largest = select(magnitude(value) > magnitude(largest), value, largest)
    return largest


def _sums_of(to_nearest: Part, *, may_exceed: bool, may_undercut: bool) -> Part:
    @inner
    def sums_of(strip: Any, row: int, inverse: Any, n_max: int) -> Any:
        """The sums of w * x * quant and of w * quant * quant."""
        lowest, highest = splat(-f32(n_max)), splat(f32(n_max - 1))
        sum_lx, sum_l2 = splat(0.0), splat(0.0)
        for e in range(GROUP):
            number = to_nearest(inverse * get(strip, row + e))
            if may_undercut:
                number = larger(number, lowest)
            if may_exceed:
                number = smaller(number, highest)
            sum_lx = sum_lx + get(strip, PRODUCT + e) * number
            sum_l2 = sum_l2 + get(strip, WEIGHT + e) * number * number
        return sum_lx, sum_l2

    return sums_of


def scale_search(to_nearest: Part) -> Part:
    """The search for the best of nineteen scales (make_qx_quants); `to_nearest` rounds.

    The largest value is divided to -(n_max + 0.1 * step), the others to less or, of the other sign, to as much above
    zero. So up to step 4 none rounds to less than -n_max, and up to step -6 none to more than n_max - 1: a tenth of
    all the work is not to look.
    """
    free = _sums_of(to_nearest, may_exceed=False, may_undercut=False)
    topped = _sums_of(to_nearest, may_exceed=True, may_undercut=False)
    bounded = _sums_of(to_nearest, may_exceed=True, may_undercut=True)

    @inner
    def search(strip: Any, row: int, n_max: int) -> Any:
        """The scale of 16 values from `row` on, and its inverse, which gives the quants; that is 0 if all are zero.

        The rows of WEIGHT hold the weights, those of PRODUCT the weights times the values.
        """
        zero, largest = splat(0.0), first_largest(strip, row)
        is_zero = magnitude(largest) < splat(GROUP_MAX_EPS)
        best_inverse = splat(-f32(n_max)) / largest
        sum_lx, sum_l2 = topped(strip, row, best_inverse, n_max)
        scale = select(sum_l2 == zero, zero, sum_lx / sum_l2)
        best = scale * sum_lx
        for step in range(-9, 10):
            if step == 0:
                continue
            inverse = splat(-(f32(n_max) + f32(0.1) * f32(step))) / largest
            # For LLVM this may change `row`: else it would keep 16 rows on a stack that begins at no cache line (5 %).
            put(strip, SCRATCH, inverse)
            if step <= -6:
                sum_lx, sum_l2 = free(strip, row, inverse, n_max)
            elif step <= 4:
                sum_lx, sum_l2 = topped(strip, row, inverse, n_max)
            else:
                sum_lx, sum_l2 = bounded(strip, row, inverse, n_max)
            better = (sum_l2 > zero) & (sum_lx * sum_lx > best * sum_l2)
            scale = select(better, sum_lx / sum_l2, scale)
            best = select(better, scale * sum_lx, best)
            best_inverse = select(better, inverse, best_inverse)
        return select(is_zero, zero, scale), select(is_zero, zero, best_inverse)

    return search


@inner
def refine_scale(strip: Any, group: int, n_max: int) -> Any:
    """The scale of a group with weights x * x, found by moving one quant after another for as long as that helps
    (make_q3_quants). Fills the group's rows of LEVEL with its quants, 0 … 2 * n_max - 1."""
    x, level = X + group * GROUP, LEVEL + group * GROUP
    zero, lowest, highest = splat(0.0), splat(-f32(n_max)), splat(f32(n_max - 1))
    largest = first_largest(strip, x)
    is_zero = magnitude(largest) < splat(GROUP_MAX_EPS)
    inverse = lowest / largest
    sum_lx, sum_l2 = zero, zero
    for e in range(GROUP):
        value = get(strip, x + e)
        weight = value * value
        number = limited(nearest_as_float(inverse * value), lowest, highest)
        put(strip, level + e, number)
        sum_lx = sum_lx + weight * value * number
        sum_l2 = sum_l2 + weight * number * number
    for _ in range(5):
        is_settled = True
        for e in range(GROUP):
            value, number = get(strip, x + e), get(strip, level + e)
            weight = value * value
            product = weight * value
            lx, l2 = sum_lx - product * number, sum_l2 - weight * number * number
            wanted = limited(nearest_as_float(value * l2 / lx), lowest, highest)
            moves = (lx > zero) & ((wanted < number) | (wanted > number))
            lx, l2 = lx + product * wanted, l2 + weight * wanted * wanted
            moves = moves & (l2 > zero) & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            put(strip, level + e, select(moves, wanted, number))
            sum_lx, sum_l2 = select(moves, lx, sum_lx), select(moves, l2, sum_l2)
            is_settled = is_settled and not is_any(moves)
        if is_settled:
            break
    for e in range(GROUP):
        raised = get(strip, level + e) - lowest
        put(strip, level + e, select(is_zero, zero, raised))
    return select(is_zero, zero, select(sum_l2 > zero, sum_lx / sum_l2, zero))


@inner
def largest_scale(strip: Any) -> Any:
    """The first scale of largest magnitude in each block; +0 where all are zero or NaN."""
    return first_largest(strip, SCALE)


@inner
def as_int8(number: Any) -> Any:
    """What is left of int32 lanes in C's int8_t."""
    return (number << splat_int(24)) >> splat_int(24)


@inner
def signed_quant(x: Any, step: Any, n_max: int) -> Any:
    """The quants of x, 0 … 2 * n_max - 1, by the scales as they are stored."""
    wanted = nearest(x / step)
    return smaller(larger(wanted, splat_int(-n_max)), splat_int(n_max - 1)) + splat_int(n_max)
