"""What IQ3_XXS and IQ3_S share: four weights become one point of a grid, and the search for the scale of a group of 32.

A group is tried at many scales. At each, every weight is rounded by itself to one of the levels 1, 3 ... 15; four of
them that lie beside the grid go to the best of their neighbours on it (grids.py). The scale that explains most wins.
Signs are kept apart: values here are magnitudes, but for IQ3_XXS, where one in eight may have kept its sign.

(ggml-quants.c: quantize_row_iq3_xxs_impl, quantize_row_iq3_s_impl, iq3_find_best_neighbour; bit for bit.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Floats, Importance
from conversion.quants.grids import Grid
from conversion.quants.rounding import nearest_int

BLOCK_SIZE, GROUP, N_GROUPS, POINT = 256, 32, 8, 4
TOP = np.float32(15)
_SHIFTS = 3 * np.arange(POINT)
_FLT_MAX = np.finfo(np.float32).max

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass
class Groups:
    """Groups on their way: x, weights float32 (n, 8, 4), four weights of a point at a time.

    Found so far: the scale of each group (n,), its points' codes (n, 8), and whether ggml aborts on it (n,).
    """

    x: Floats
    weights: Floats
    scales: Floats
    codes: Integers
    is_hopeless: Flags


def weights_of(blocks: Floats, importance: Importance | None) -> Floats:
    """What each value weighs in the search: its square, or its importance times a magnitude smoothed over its block."""
    if importance is None:
        return blocks * blocks
    # accumulate adds strictly from left to right, as the C loop does; sum() would add in pairs.
    power = np.add.accumulate(blocks * blocks, axis=1, dtype=np.float32)[:, -1:]
    return importance.weights * np.sqrt(np.float32(2) * power / np.float32(BLOCK_SIZE) + blocks * blocks)


def tries(n_each_side: int) -> Floats:
    """The levels that the largest magnitude is given: 15, and steps of 0.2 to both sides."""
    steps = np.arange(-n_each_side, n_each_side + 1, dtype=np.float32)
    return TOP + steps * np.float32(0.2)


def search(x: Floats, weights: Floats, found: Grid, numerators: Floats, *, keep_on_grid: bool) -> Groups:
    """Scales and points of groups, x and weights float32 (n, 32); none of the groups may count as zero.

    In the end points are chosen once more by the scale found. `keep_on_grid`: unless the search rounded right onto
    them.
    """
    shape = (len(x), GROUP // POINT, POINT)
    largest = x.max(axis=1)
    groups = Groups(
        x.reshape(shape),
        weights.reshape(shape),
        largest / TOP,
        np.zeros(shape[:2], dtype=np.int64),
        np.zeros(len(x), dtype=np.bool_),
    )
    was_on_grid = np.full(shape[:2], keep_on_grid)
    best = np.zeros(len(x), dtype=np.float32)
    roots = np.sqrt(groups.weights)
    for numerator in numerators:
        inverse = numerator / largest
        codes, is_on_grid, is_hopeless = _points(groups, roots, found, inverse, np.float32(1) / inverse)
        groups.is_hopeless |= is_hopeless.any(axis=1)
        sum_qx, sum_q2 = _sums(groups, codes)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        groups.scales = np.where(better, sum_qx / sum_q2, groups.scales)
        best = np.where(better, groups.scales * sum_qx, best)
        groups.codes[better] = codes[better]
        was_on_grid[better] = is_on_grid[better]
    chosen = ~was_on_grid.all(axis=1) & (groups.scales > 0)
    _refine(groups, roots, found, chosen, was_on_grid & keep_on_grid)
    groups.is_hopeless |= np.isnan(groups.scales)
    return groups


def _points(
    groups: Groups, roots: Floats, found: Grid, inverse: Floats, scale: Floats
) -> tuple[Integers, Flags, Flags]:
    """Codes (n, 8) of the points at one scale a group; whether rounding alone led to them; and where none is near."""
    levels = nearest_int(np.float32(0.5) * (inverse[:, None, None] * groups.x - np.float32(1)))
    codes = (np.clip(levels, 0, 7).astype(np.int64) << _SHIFTS).sum(axis=2)
    is_on_grid = found.point_at[codes] >= 0
    at = np.nonzero(~is_on_grid)
    points = _best_neighbours(groups.x[at], roots[at], found, codes[at], scale[at[0]])
    codes[at] = _codes(found)[points]
    is_hopeless = np.zeros_like(is_on_grid)
    is_hopeless[at] = points < 0
    return codes, is_on_grid, is_hopeless


def _best_neighbours(x: Floats, roots: Floats, found: Grid, codes: Integers, scale: Floats) -> Integers:
    """Numbers of the points nearest to each of x (n, 4), the first of equally near ones; -1 if all are too far off."""
    points = np.full(len(x), -1, dtype=np.int64)
    least = np.full(len(x), _FLT_MAX, dtype=np.float32)
    todo = np.arange(len(x))
    for n in range(found.count.max()):
        todo = todo[found.count[codes[todo]] > n]
        listed = found.neighbours[found.first[codes[todo]] + n]
        levels = (2 * found.digits[listed] + 1).astype(np.float32)
        difference = scale[todo, None] * levels - x[todo]
        cost = roots[todo] * difference * difference
        distance = ((cost[:, 0] + cost[:, 1]) + cost[:, 2]) + cost[:, 3]
        nearer = distance < least[todo]
        least[todo[nearer]] = distance[nearer]
        points[todo[nearer]] = listed[nearer]
    return points


def _refine(groups: Groups, roots: Floats, found: Grid, chosen: Flags, keep: Flags) -> None:
    """Chooses the points of the `chosen` groups once more by the scale found, but for those to `keep`, and fits it."""
    part = Groups(
        groups.x[chosen],
        groups.weights[chosen],
        groups.scales[chosen],
        groups.codes[chosen],
        groups.is_hopeless[chosen],
    )
    codes, _, is_hopeless = _points(part, roots[chosen], found, np.float32(1) / part.scales, part.scales)
    codes = np.where(keep[chosen], part.codes, codes)
    sum_qx, sum_q2 = _sums(part, codes)
    groups.codes[chosen] = codes
    groups.scales[chosen] = np.where(sum_q2 > 0, sum_qx / sum_q2, part.scales)
    groups.is_hopeless[chosen] |= (is_hopeless & ~keep[chosen]).any(axis=1)


def _sums(groups: Groups, codes: Integers) -> tuple[Floats, Floats]:
    """The sums of weight * x * level and of weight * level * level, over each group in order."""
    n = len(codes)
    levels = (2 * (codes[:, :, None] >> _SHIFTS & 7) + 1).astype(np.float32)
    products = (groups.weights * groups.x * levels).reshape(n, GROUP)
    squares = (groups.weights * levels * levels).reshape(n, GROUP)
    sum_qx = np.add.accumulate(products, axis=1, dtype=np.float32)[:, -1]
    sum_q2 = np.add.accumulate(squares, axis=1, dtype=np.float32)[:, -1]
    return sum_qx, sum_q2


def _codes(found: Grid) -> Integers:
    codes: Integers = (found.digits.astype(np.int64) << _SHIFTS).sum(axis=1)
    return codes


def first_hopeless(is_hopeless: Flags) -> int:
    """1 + the first block with a group that ggml aborts on, 0 if there is none; `is_hopeless`: (n_blocks, 8)."""
    blocks = is_hopeless.any(axis=1)
    return 1 + int(blocks.argmax()) if blocks.any() else 0
