"""The searches for scales and minima, as ggml makes them; bit for bit, edge cases and all.

Groups are worked on side by side; within each, sums run over its elements in order, every step rounded to float32. An
array of groups is float32 `(n_groups, size)`; inside, one row per element: the lanes of a sum lie side by side.
(ggml-quants.c: make_qx_quants with rmse_type 1, make_q3_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants.)
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats
from conversion.quants.rounding import nearest_int

GROUP_MAX_EPS = np.float32(1e-15)
"""A group whose largest magnitude is smaller counts as all zero."""

Lanes = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_ZERO, _ONE = np.float32(0), np.float32(1)
_MAGIC = np.float32(12582912.0)
_EXACT = np.float32(4194303.0)
"""Up to here, adding and taking off 1.5 * 2**23 rounds as ggml's nearest_int does."""

_GROUPS_AT_ONCE = 1024


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
    scale, quants = np.empty(len(groups), dtype=np.float32), np.empty(groups.shape, dtype=np.uint8)
    for part in _parts(len(groups)):
        weight = None if weights is None else weights[part]
        scale[part], quants[part] = _search_scales(groups[part], n_max, weight)
    return scale, quants


def _search_scales(groups: Floats, n_max: int, weights: Floats | None) -> tuple[Lanes, Bytes]:
    x = np.ascontiguousarray(groups.T)
    w = x * x if weights is None else np.ascontiguousarray(weights.T)
    wx, largest = w * x, _first_largest(x)
    best_inverse = np.float32(-n_max) / largest
    sum_lx, sum_l2 = _sums(x, w, wx, best_inverse, n_max)
    scale = np.where(sum_l2 != 0, sum_lx / sum_l2, _ZERO)
    best = scale * sum_lx
    for step in range(-9, 10):
        if step == 0:
            continue
        # C evaluates nmax + 0.1f * step in float32, then negates and divides.
        inverse = -(np.float32(n_max) + np.float32(0.1) * np.float32(step)) / largest
        sum_lx, sum_l2 = _sums(x, w, wx, inverse, n_max)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = np.where(better, sum_lx / sum_l2, scale)
        best = np.where(better, scale * sum_lx, best)
        best_inverse = np.where(better, inverse, best_inverse)
    quants = _levels(x * best_inverse, -n_max, n_max - 1) + np.float32(n_max)
    return _with_zero_groups(scale, quants, np.abs(largest) < GROUP_MAX_EPS)


def refine_scales(groups: Floats, n_max: int) -> tuple[Lanes, Bytes]:
    """As `search_scales` with weights x * x, but by moving one quant after another for as long as that helps."""
    elements = np.ascontiguousarray(groups.T)
    weight = elements * elements
    largest = _first_largest(elements)
    quants = _levels(elements * (np.float32(-n_max) / largest), -n_max, n_max - 1)
    sum_lx, sum_l2 = _sum(weight * elements * quants), _sum(weight * quants * quants)
    for _ in range(5):
        n_changed = 0
        for x, w, quant in zip(elements, weight, quants, strict=True):
            lx, l2 = sum_lx - w * x * quant, sum_l2 - w * quant * quant
            wanted = _levels(x * l2 / lx, -n_max, n_max - 1)
            moved = (lx > 0) & (wanted != quant)
            lx, l2 = lx + w * x * wanted, l2 + w * wanted * wanted
            moved &= (l2 > 0) & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            np.copyto(quant, wanted, where=moved)
            np.copyto(sum_lx, lx, where=moved)
            np.copyto(sum_l2, l2, where=moved)
            n_changed += int(moved.sum())
        if not n_changed:
            break
    scale = np.where(sum_l2 > 0, sum_lx / sum_l2, _ZERO)
    return _with_zero_groups(scale, quants + np.float32(n_max), np.abs(largest) < GROUP_MAX_EPS)


def search_scales_and_minima(
    groups: Floats, n_max: int, weights: Floats, tries: Tries, *, absolute: bool = False
) -> tuple[Lanes, Lanes, Bytes]:
    """The scale and the minimum of each group, and its quants in 0 … n_max (value = scale * quant - minimum).

    The best of the tries by weighted error, squared or `absolute`; scale and minimum are fitted to the quants of each.
    The minimum found in one try is the one that the following tries start from, as in ggml. It is never negative.
    """
    scale, minimum = np.empty(len(groups), dtype=np.float32), np.empty(len(groups), dtype=np.float32)
    quants = np.empty(groups.shape, dtype=np.uint8)
    for part in _parts(len(groups)):
        found = _search_scales_and_minima(groups[part], n_max, weights[part], tries, absolute)
        scale[part], minimum[part], quants[part] = found
    return scale, minimum, quants


def _search_scales_and_minima(
    groups: Floats, n_max: int, weights: Floats, tries: Tries, absolute: bool
) -> tuple[Lanes, Lanes, Bytes]:
    x, w = np.ascontiguousarray(groups.T), np.ascontiguousarray(weights.T)
    sum_w, sum_x = _sum(w), _sum(w * x)
    low, high = _first_lowest(x), x.max(axis=0)
    low = np.where(low > 0, _ZERO, low)
    is_flat = high == low
    # An all-equal group has no range; any other keeps it from disturbing its neighbours, and it is overruled below.
    inverse: Lanes = np.divide(np.float32(n_max), np.where(is_flat, _ONE, high - low))
    quants = _levels((x - low) * inverse, 0, n_max)
    scale: Lanes = np.float32(1) / inverse
    best = _error(w, scale * quants + low - x, absolute)
    for offset in tries.offsets(n_max):
        inverse = np.divide(offset, np.where(is_flat, _ONE, high - low))
        level = _levels((x - low) * inverse, 0, n_max)
        weighted = w * level
        sum_l, sum_l2, sum_xl = _sum(weighted), _sum(weighted * level), _sum(weighted * x)
        determinant = sum_w * sum_l2 - sum_l * sum_l
        fitted_low: Lanes = np.divide(sum_l2 * sum_x - sum_l * sum_xl, determinant)
        is_above = fitted_low > 0
        fitted: Lanes = np.where(is_above, sum_xl / sum_l2, (sum_w * sum_xl - sum_x * sum_l) / determinant)
        fitted_low = np.where(is_above, _ZERO, fitted_low)
        error = _error(w, fitted * level + fitted_low - x, absolute)
        better = (determinant > 0) & (error < best)
        np.copyto(quants, level, where=better)
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


def _first_lowest(elements: Floats) -> Lanes:
    """The first of the smallest values: as in C, of two zeros the first keeps its sign."""
    lowest: Lanes = elements[0].copy()
    for x in elements[1:]:
        np.copyto(lowest, x, where=x < lowest)
    return lowest


def _sums(x: Floats, w: Floats, wx: Floats, inverse: Lanes, n_max: int) -> tuple[Lanes, Lanes]:
    level = _levels(x * inverse, -n_max, n_max - 1)
    return _sum(wx * level), _sum(w * level * level)


def _levels(values: Floats, lowest: int, highest: int) -> Floats:
    """The numbers that ggml's nearest_int makes of the values, limited, as float32. May overwrite the values."""
    if np.abs(values).max(initial=0) <= _EXACT:  # Not if there is a NaN.
        values += _MAGIC
        values -= _MAGIC
        return np.clip(values, lowest, highest, out=values)
    return np.clip(nearest_int(values), lowest, highest).astype(np.float32)


def _error(w: Floats, difference: Floats, absolute: bool) -> Lanes:
    return _sum(w * (np.abs(difference) if absolute else difference * difference))


def _sum_of_squares(w: Floats, difference: Floats) -> Lanes:
    return _sum(w * difference * difference)


def _sum(terms: Floats) -> Lanes:
    """The sums over the elements, from the first to the last.

    numpy adds whole rows to each other, one after the other; only where a sum runs along memory does it add in pairs.
    """
    if terms.shape[1] == 1:
        terms = np.add.accumulate(terms, axis=0)[-1:]
    total: Lanes = np.add.reduce(terms, axis=0)
    return total


def _w_l_l(w: Lanes, quant: Numbers) -> Lanes:
    level = quant.astype(np.float32)
    product: Lanes = w * level * level
    return product


def _with_zero_groups(scale: Lanes, quants: Floats | Numbers, is_zero: Mask) -> tuple[Lanes, Bytes]:
    found: Bytes = quants.T.astype(np.uint8)
    found[is_zero] = 0
    return np.where(is_zero, _ZERO, scale), found


def _parts(n_groups: int) -> Iterator[slice]:
    """Groups that are worked on at once: so few that numpy's temporaries stay in the cache of a core."""
    for first in range(0, n_groups, _GROUPS_AT_ONCE):
        yield slice(first, first + _GROUPS_AT_ONCE)
