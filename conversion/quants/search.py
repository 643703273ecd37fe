"""The searches for scales and minima, as ggml makes them; bit for bit, edge cases and all.

Groups are worked on side by side; within each, sums run over its elements in order, every step rounded to float32. An
array of groups is float32 `(n_groups, size)`; inside, one row per element: the lanes of a sum lie side by side.
(ggml-quants.c: make_qx_quants with rmse_type 1, make_q3_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants.)
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats
from conversion.quants.rounding import nearest_int

GROUP_MAX_EPS = np.float32(1e-15)
"""A group whose largest magnitude is smaller counts as all zero."""

Lanes = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int32]
_ZERO = np.float32(0)


class Tries(NamedTuple):
    """The inverse scales that are tried: (first + delta * i + n_max) / range, for i = 0 … n_tries - 1."""

    first: float
    delta: float
    n_tries: int

    def offsets(self, n_max: int) -> list[np.float32]:
        """`first + delta * i + n_max`, in float32 and in this order."""
        f32 = np.float32
        return [f32(self.first) + f32(self.delta) * f32(i) + f32(n_max) for i in range(self.n_tries)]


WEIGHTED = Tries(-0.9, 0.05, 37)
"""What every type with minima tries where there is an importance matrix."""


def search_scales(groups: Floats, n_max: int, weights: Floats | None = None) -> tuple[Lanes, Bytes]:
    """The scale of each group, and its quants in 0 … 2 * n_max - 1 (value = scale * (quant - n_max)).

    weights: as groups, or None for x * x. The best of nineteen scales by weighted squared error. Quants of an all-zero
    group are 0, as in ggml.
    """
    elements = np.ascontiguousarray(groups.T)
    weight = elements * elements if weights is None else np.ascontiguousarray(weights.T)
    largest = _first_largest(elements)
    inverse = np.float32(-n_max) / largest
    quants, sum_lx, sum_l2 = _sums(elements, weight, inverse, n_max)
    scale = np.where(sum_l2 != 0, sum_lx / sum_l2, _ZERO)
    best = scale * sum_lx
    for step in range(-9, 10):
        if step == 0:
            continue
        # C evaluates nmax + 0.1f * step in float32, then negates and divides.
        inverse = -(np.float32(n_max) + np.float32(0.1) * np.float32(step)) / largest
        candidate, sum_lx, sum_l2 = _sums(elements, weight, inverse, n_max)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = np.where(better, sum_lx / sum_l2, scale)
        best = np.where(better, scale * sum_lx, best)
        np.copyto(quants, candidate, where=better)
    return _with_zero_groups(scale, quants + np.int32(n_max), np.abs(largest) < GROUP_MAX_EPS)


def refine_scales(groups: Floats, n_max: int) -> tuple[Lanes, Bytes]:
    """As `search_scales` with weights x * x, but by moving one quant after another for as long as that helps."""
    elements = np.ascontiguousarray(groups.T)
    weight = elements * elements
    largest = _first_largest(elements)
    quants, sum_lx, sum_l2 = _sums(elements, weight, np.float32(-n_max) / largest, n_max)
    for _ in range(5):
        n_changed = 0
        for x, w, quant in zip(elements, weight, quants, strict=True):
            lx, l2 = sum_lx - w * x * quant.astype(np.float32), sum_l2 - _w_l_l(w, quant)
            wanted = np.clip(nearest_int(x * l2 / lx), -n_max, n_max - 1)
            moved = (lx > 0) & (wanted != quant)
            lx, l2 = lx + w * x * wanted.astype(np.float32), l2 + _w_l_l(w, wanted)
            moved &= (l2 > 0) & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            np.copyto(quant, wanted, where=moved)
            np.copyto(sum_lx, lx, where=moved)
            np.copyto(sum_l2, l2, where=moved)
            n_changed += int(moved.sum())
        if not n_changed:
            break
    scale = np.where(sum_l2 > 0, sum_lx / sum_l2, _ZERO)
    return _with_zero_groups(scale, quants + np.int32(n_max), np.abs(largest) < GROUP_MAX_EPS)


def search_scales_and_minima(
    groups: Floats, n_max: int, weights: Floats, tries: Tries, *, absolute: bool = False
) -> tuple[Lanes, Lanes, Bytes]:
    """The scale and the minimum of each group, and its quants in 0 … n_max (value = scale * quant - minimum).

    The best of the tries by weighted error, squared or `absolute`; scale and minimum are fitted to the quants of each.
    The minimum found in one try is the one that the following tries start from, as in ggml. It is never negative.
    """
    x, w = np.ascontiguousarray(groups.T), np.ascontiguousarray(weights.T)
    sum_w, sum_x = _sum(w), _sum(w * x)
    # Of several smallest the first counts, be it +0 or -0: Q4_1 and Q5_1 store it.
    lowest: Lanes = np.take_along_axis(x, x.argmin(axis=0)[None], axis=0)[0]
    low: Lanes = np.where(lowest > 0, _ZERO, lowest)
    high: Lanes = x.max(axis=0)
    is_flat = high == low
    quants = _levels(x, low, np.float32(n_max) / (high - low), n_max)
    scale: Lanes = np.float32(1) / (np.float32(n_max) / (high - low))
    best = _error(w, scale * quants.astype(np.float32) + low - x, absolute)
    for offset in tries.offsets(n_max):
        candidate = _levels(x, low, offset / (high - low), n_max)
        level = candidate.astype(np.float32)
        sum_l, sum_l2, sum_xl = _sum(w * level), _sum(w * level * level), _sum(w * level * x)
        determinant = sum_w * sum_l2 - sum_l * sum_l
        fitted_low: Lanes = np.divide(sum_l2 * sum_x - sum_l * sum_xl, determinant)
        is_above = fitted_low > 0
        fitted: Lanes = np.where(is_above, sum_xl / sum_l2, (sum_w * sum_xl - sum_x * sum_l) / determinant)
        fitted_low = np.where(is_above, _ZERO, fitted_low)
        difference: Floats = fitted * level + fitted_low - x
        error = _error(w, difference, absolute)
        better = (determinant > 0) & (error < best)
        np.copyto(quants, candidate, where=better)
        best, scale = np.where(better, error, best), np.where(better, fitted, scale)
        low = np.where(better, fitted_low, low)
    scale, found = _with_zero_groups(scale, quants, is_flat)
    return scale, -low, found


def search_positive_scales(groups: Floats, n_max: int, weights: Floats) -> tuple[Lanes, Bytes]:
    """The scale of each group of scales or minima, and its quants in 0 … n_max (value = scale * quant).

    A negative value, which only a search over extreme values leads to, becomes a quant as C's uint8 keeps it.
    """
    x, w = np.ascontiguousarray(groups.T), np.ascontiguousarray(weights.T)
    # C's MAX takes the second value unless the first is larger, and thus forgets what came before a NaN.
    largest = np.zeros(x.shape[1], dtype=np.float32)
    for value in x:
        largest = np.where(largest > value, largest, value)
    inverse = np.float32(n_max) / largest
    levels = (nearest_int(inverse * x) & 255).astype(np.float32)
    best = _sum_of_squares(w, x - (np.float32(1) / inverse) * levels)
    for step in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = (np.float32(0.1) * np.float32(step) + np.float32(n_max)) / largest
        levels = np.minimum(nearest_int(tried * x), n_max).astype(np.float32)
        error = _sum_of_squares(w, x - (np.float32(1) / tried) * levels)
        better = error < best
        best, inverse = np.where(better, error, best), np.where(better, tried, inverse)
    scale, quants = _refine_positive(x, w, np.minimum(nearest_int(inverse * x), n_max), n_max)
    return _with_zero_groups(scale, quants, largest < GROUP_MAX_EPS)


def _refine_positive(x: Floats, weights: Floats, wanted: Numbers, n_max: int) -> tuple[Lanes, Numbers]:
    levels = wanted.astype(np.float32)
    sum_lx, sum_l2 = _sum(weights * x * levels), _sum(weights * levels * levels)
    quants = wanted & 255
    for _ in range(5):
        n_changed = 0
        for value, w, quant in zip(x, weights, quants, strict=True):
            lx, l2 = sum_lx - w * value * quant.astype(np.float32), sum_l2 - _w_l_l(w, quant)
            moved = (lx > 0) & (l2 > 0)
            wanted = np.minimum(nearest_int(value * l2 / lx), n_max)
            moved &= wanted != quant
            lx, l2 = lx + w * value * wanted.astype(np.float32), l2 + _w_l_l(w, wanted)
            moved &= lx * lx * sum_l2 > sum_lx * sum_lx * l2
            np.copyto(quant, wanted & 255, where=moved)
            np.copyto(sum_lx, lx, where=moved)
            np.copyto(sum_l2, l2, where=moved)
            n_changed += int(moved.sum())
        if not n_changed:
            break
    return np.where(sum_l2 > 0, sum_lx / sum_l2, _ZERO), quants


def _first_largest(elements: Floats) -> Lanes:
    """The first of the values of largest magnitude; +0 where there is none. NaN is no largest, as C's `>` has it."""
    largest = np.zeros(elements.shape[1], dtype=np.float32)
    for x in elements:
        np.copyto(largest, x, where=np.abs(x) > np.abs(largest))
    return largest


def _sums(elements: Floats, weight: Floats, inverse: Lanes, n_max: int) -> tuple[Numbers, Lanes, Lanes]:
    quants = np.clip(nearest_int(elements * inverse), -n_max, n_max - 1)
    levels = quants.astype(np.float32)
    return quants, _sum(weight * elements * levels), _sum(weight * levels * levels)


def _levels(x: Floats, low: Lanes, inverse: Lanes, n_max: int) -> Numbers:
    return np.clip(nearest_int(inverse * (x - low)), 0, n_max)


def _error(w: Floats, difference: Floats, absolute: bool) -> Lanes:
    return _sum(w * (np.abs(difference) if absolute else difference * difference))


def _sum_of_squares(w: Floats, difference: Floats) -> Lanes:
    return _sum(w * difference * difference)


def _sum(terms: Floats) -> Lanes:
    """The sum over the elements, in order."""
    total = np.zeros(terms.shape[1], dtype=np.float32)
    for term in terms:
        total += term
    return total


def _w_l_l(w: Lanes, quant: Numbers) -> Lanes:
    level = quant.astype(np.float32)
    product: Lanes = w * level * level
    return product


def _with_zero_groups(scale: Lanes, quants: Numbers, is_zero: npt.NDArray[np.bool_]) -> tuple[Lanes, Bytes]:
    quants = np.where(is_zero, np.int32(0), quants)
    return np.where(is_zero, _ZERO, scale), np.ascontiguousarray(quants.T).astype(np.uint8)
