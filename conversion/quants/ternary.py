"""What IQ1_S and IQ1_M share: values as -1, 0 and 1 times a scale, all shifted by an eighth up or down.

With three levels the best scale can be found exactly: in order of size, the values are cut in three at every pair of
places. The better cut is the one whose weighted fit is better; of equals, the first that ggml comes to.

Lanes are laid out as in lattice.py: `(elements, n_lanes)`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conversion.quants import lattice
from conversion.quants.base import Bytes, Floats
from conversion.quants.grids import grid

UP, DOWN = 0, 1
DELTA = np.float32(0.125)
LEVELS = np.array([[-0.875, 0.125, 1.125], [-1.125, -0.125, 0.875]], dtype=np.float32)
"""What the digits stand for, shifted UP and DOWN."""


@dataclass
class Split:
    """The best cut so far of each lane; every array but `order` is (n_lanes,).

    order: (size, n_lanes), which value comes where in order of size; equal ones as they lie, as in the C library's
    merge sort. Of the values in order the first `low` become -1, those from `middle` on 1. shifts: how they are
    shifted, as the type numbers the ways; -1 if no cut fits. is_turned: -1 and 1 change places. is_zero: the run counts
    as zeros.
    """

    order: npt.NDArray[np.intp]
    scale: Floats
    worth: Floats
    low: lattice.Numbers
    middle: lattice.Numbers
    shifts: lattice.Numbers
    is_turned: lattice.Mask
    is_zero: lattice.Mask


def no_split(x: Floats) -> Split:
    nothing, no = np.full(x.shape[1], -1, dtype=np.int32), np.zeros(x.shape[1], dtype=np.bool_)
    worth = np.full(x.shape[1], -lattice.FLT_MAX, dtype=np.float32)
    scale: Floats = np.abs(x).max(axis=0)
    order = np.argsort(x, axis=0, kind="stable")
    return Split(order, scale, worth, nothing, nothing.copy(), nothing.copy(), no, no)


def try_cut(best: Split, sums: tuple[Floats, Floats], cut: tuple[int, int, int]) -> None:
    """Puts a cut (low, middle, shifts) in the place of the best where it fits better.

    sums: of weight * x * level and of weight * level ** 2.
    """
    sum_x, sum_square = sums
    is_better = (sum_square > 0) & (sum_x * sum_x > best.worth * sum_square)
    best.scale = np.where(is_better, sum_x / sum_square, best.scale)
    best.worth = np.where(is_better, best.scale * sum_x, best.worth)
    for kept, number in zip((best.low, best.middle, best.shifts), cut, strict=True):
        kept[is_better] = number


def finish(best: Split, x: Floats, zero_below: np.float32, last_shifts: int) -> None:
    """Turns -1 and 1 round, and every shift with them, where the scale is below zero; tells which runs are zeros."""
    best.is_zero = (np.abs(x).max(axis=0) < zero_below) | (best.shifts < 0)
    best.is_turned = best.scale < 0
    best.scale = np.abs(best.scale)
    shifts = np.where(best.is_turned, last_shifts - best.shifts, best.shifts)
    best.shifts = np.where(best.is_zero, 0, shifts).astype(np.int32)


def to_points(x: Floats, weights: Floats, split: Split, ways: lattice.Numbers) -> lattice.Found:
    """The points of the grid of IQ1_S for a split, and the scale fitted to them where some digits were not a point.

    ways: UP or DOWN for each group, (size / 8, n_lanes).
    """
    of_values = np.repeat(LEVELS[ways].transpose(2, 0, 1), lattice.GROUP, axis=1)
    points = lattice.to_grid(grid("IQ1_S"), _digits(split), x, weights, split.scale * of_values)
    levels = np.take_along_axis(of_values, points.digits[None].astype(np.intp), axis=0)[0]
    sum_x, sum_square = np.zeros_like(split.scale), np.zeros_like(split.scale)
    for x_term, square_term in zip(weights * levels * x, weights * levels * levels, strict=True):
        sum_x += x_term
        sum_square += square_term
    fits = (~points.was_on_grid).any(axis=0) & (sum_x > 0) & (sum_square > 0)
    scale = np.where(fits, sum_x / sum_square, split.scale)
    return lattice.finished(scale, points.numbers, split.is_zero, points.is_missing)


def _digits(split: Split) -> Bytes:
    place = np.arange(len(split.order))[:, None]
    cut = (place >= split.low).astype(np.uint8) + (place >= split.middle)
    digits = np.empty_like(cut)
    np.put_along_axis(digits, split.order, np.where(split.is_turned, 2 - cut, cut), axis=0)
    return digits


def running_sums(terms: Floats) -> Floats:
    """(n + 1, n_lanes): the sum of the first 0, 1 … n terms, added up in order."""
    return np.concatenate([np.zeros((1, terms.shape[1]), dtype=np.float32), np.add.accumulate(terms, axis=0)])
