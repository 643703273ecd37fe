"""What the kernels of IQ3_XXS and IQ3_S share: the search for the scale and the points of a group of 32 weights.

ggml tries up to 31 scales per group. Here the tries lie side by side, one per lane, so each try keeps the order of its
sums. For four weights the codes of all tries are found at once; from try to try they change seldom, so tries in a row
with one code are given its neighbours together, WINDOW at a time.

The scratch is one array of rows of ROW floats. A code is kept in it as the float32 that has its bits.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from conversion.quants.grids import grid
from conversion.quants.iq3 import GROUP, N_GROUPS, POINT
from conversion.quants.kernels.bits import bits_of, float_of
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lattice import nearest
from conversion.quants.kernels.simple import at_least, at_most
from conversion.quants.kernels.simple import nearest as nearest_ints
from conversion.quants.kernels.vectors import (
    bits_of_all,
    chosen,
    first_of,
    floats_of,
    floats_of_bits,
    load_floats,
    min_of,
    store_floats,
)

LANES, WINDOW, ROW, N_POINTS = 32, 8, 48, GROUP // POINT
X, WEIGHT, ROOT, PRODUCT = 0, 1, 2, 3
"""Rows of a group: values, weights, the square roots of these, weight times value."""

INVERSE, SCALE, SUM_X, SUM_SQUARE, ROUNDED, FOUND = 4, 5, 6, 7, 8, 16
"""Rows of tries: inverse scales, scales, both sums; then, a row for each four weights, the codes that rounding gives
and those of points. A window of tries may begin at any of them: hence more than LANES."""

KEPT, SPARE, N_ROWS = 24, 25, 26
"""The codes of the points of a group, one per four weights; and a row for passing by."""

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)

Tables = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.float32], npt.NDArray[np.int32]]


def tables(type_name: str) -> Tables:
    """(entry, neighbours, levels, codes). entry[code] is the number of a point, or -1 - (first << 6 | count) for some
    pairs of `neighbours`, which are numbers of points; each of these has four levels and a code.

    A pair that lacks one has the list's first, which never wins twice. Pairs are a fifth faster than single ones: there
    are fewer lengths of lists for the CPU to guess wrong.
    """
    found = grid(type_name)
    beside = np.flatnonzero(found.count)
    start, count = found.first[beside], found.count[beside]
    pairs = (count + 1) // 2
    pair = np.cumsum(pairs) - pairs
    entry = found.point_at.copy()
    entry[beside] = -1 - (pair << 6 | pairs)
    neighbours = np.repeat(found.neighbours[start], 2 * pairs)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    neighbours[np.repeat(2 * pair, count) + number] = found.neighbours[np.repeat(start, count) + number]
    codes = (found.digits.astype(np.int32) << 3 * np.arange(POINT, dtype=np.int32)).sum(
        axis=1, dtype=np.int32
    )
    levels = (2 * found.digits + 1).astype(np.float32).reshape(-1)
    return entry, neighbours, levels, codes


@inner
def scale_number(inverse: float, scale: float) -> int:
    """The four bits for a group's scale."""
    return max(0, min(15, nearest(HALF * (inverse * scale - ONE))))


@inner
def weigh(s: Any, group: Any, weights: Any, power: float) -> None:
    """Fills the rows WEIGHT and ROOT. weights: of the group, or empty; power: the mean square of the block, doubled."""
    for j in range(GROUP):
        square = group[j] * group[j]
        weight = square
        if weights.size:
            weight = weights[j] * np.sqrt(power + square)
        s[WEIGHT * ROW + j] = weight
        s[ROOT * ROW + j] = np.sqrt(weight)


@inner
def power_of(block: Any) -> float:
    total = ZERO
    for j in range(GROUP * N_GROUPS):
        total += block[j] * block[j]
    return np.float32(2) * total / np.float32(GROUP * N_GROUPS)


@inner
def largest_of(s: Any) -> float:
    largest = s[X * ROW]
    for j in range(1, GROUP):
        largest = max(largest, s[X * ROW + j])
    return largest


@inner
def search(s: Any, numerators: Any, n_tries: int, tables: Any) -> int:
    """Finds the best try from the rows X, WEIGHT and ROOT: its number, -1 if none is any good, -2 if ggml aborts.

    Rows SUM_X, SUM_SQUARE and from FOUND on tell of it. numerators: float32 (LANES,), of which `n_tries` count.
    """
    largest = largest_of(s)
    for t in range(LANES):
        s[INVERSE * ROW + t] = numerators[t] / largest
        s[SCALE * ROW + t] = ONE / s[INVERSE * ROW + t]
    for j in range(GROUP):
        s[PRODUCT * ROW + j] = s[WEIGHT * ROW + j] * s[X * ROW + j]
    inverse = load_floats(s, INVERSE * ROW, 32)
    sum_x = floats_of(bits_of_all(inverse) & 0)
    sum_square = sum_x
    worst = 0
    for k in range(N_POINTS):
        codes = _codes(inverse, s, X * ROW + k * POINT)
        store_floats(s, (ROUNDED + k) * ROW, floats_of_bits(codes))
        _find_points(s, k, n_tries, tables)
        codes = bits_of_all(load_floats(s, (FOUND + k) * ROW, 32))
        worst = min(worst, min_of(codes))
        for i in range(POINT):
            j = k * POINT + i
            level = floats_of(((codes >> numba.int32(3 * i)) & 7) * 2 + 1)
            sum_x = sum_x + level * s[PRODUCT * ROW + j]
            sum_square = sum_square + level * s[WEIGHT * ROW + j] * level
    if worst < 0:
        return -2
    store_floats(s, SUM_X * ROW, sum_x)
    store_floats(s, SUM_SQUARE * ROW, sum_square)
    return _best_try(s, n_tries)


@inner
def _codes(inverse: Any, s: Any, at: int) -> Any:
    """The codes that rounding gives four values, for each inverse scale."""
    return (
        _digits(inverse, s[at])
        | _digits(inverse, s[at + 1]) << 3
        | _digits(inverse, s[at + 2]) << 6
        | _digits(inverse, s[at + 3]) << 9
    )


@inner
def _digits(inverse: Any, x: float) -> Any:
    return at_most(at_least(nearest_ints((inverse * x - ONE) * HALF), 0), 7)


@inner
def _find_points(s: Any, k: int, n_tries: int, tables: Any) -> None:
    """Fills row FOUND + k with the codes of points for row ROUNDED + k; -1 where ggml aborts.

    A window written reaches beyond its tries; what lies there is written again.
    """
    entry, t = tables[0], 0
    while t < n_tries:
        window = bits_of_all(load_floats(s, (ROUNDED + k) * ROW + t, 8))
        code = bits_of(s[(ROUNDED + k) * ROW + t])
        n_alike = first_of((window ^ code) > 0)
        found = entry[code]
        if found < 0:
            window = _best_neighbours(s, k * POINT, t, -1 - found, tables)
        store_floats(s, (FOUND + k) * ROW + t, floats_of_bits(window))
        t += n_alike


@inner
def _best_neighbours(s: Any, at: int, t: int, listed: int, tables: Any) -> Any:
    """The codes of the nearest points to four values for WINDOW scales, the first of equally near ones; -1 for none."""
    _, neighbours, levels, codes = tables
    scales = load_floats(s, SCALE * ROW + t, 8)
    best = (bits_of_all(scales) & 0) - 1
    least = floats_of_bits(best & 0x7F7FFFFF)
    first, count = listed >> 6, listed & 63
    x = s[X * ROW + at], s[X * ROW + at + 1], s[X * ROW + at + 2], s[X * ROW + at + 3]
    root = s[ROOT * ROW + at], s[ROOT * ROW + at + 1], s[ROOT * ROW + at + 2], s[ROOT * ROW + at + 3]
    for n in range(first, first + count):
        one, other = neighbours[2 * n], neighbours[2 * n + 1]
        distance = _distance(scales, levels[4 * one : 4 * one + 4], x, root)
        further = _distance(scales, levels[4 * other : 4 * other + 4], x, root)
        best = chosen(distance < least, (best & 0) + codes[one], best)
        least = chosen(distance < least, distance, least)
        best = chosen(further < least, (best & 0) + codes[other], best)
        least = chosen(further < least, further, least)
    return best


@inner
def _distance(scales: Any, levels: Any, x: Any, root: Any) -> Any:
    return (
        _cost(scales * levels[0], x[0], root[0])
        + _cost(scales * levels[1], x[1], root[1])
        + _cost(scales * levels[2], x[2], root[2])
        + _cost(scales * levels[3], x[3], root[3])
    )


@inner
def _cost(values: Any, x: float, root: float) -> Any:
    difference = values - x
    return difference * root * difference


@inner
def _best_try(s: Any, n_tries: int) -> int:
    best, found = ZERO, -1
    for t in range(n_tries):
        sum_x, sum_square = s[SUM_X * ROW + t], s[SUM_SQUARE * ROW + t]
        if sum_square > ZERO and sum_x * sum_x > best * sum_square:
            best, found = sum_x / sum_square * sum_x, t
    return found


@inner
def _code_at(s: Any, k: int, inverse: float) -> int:
    """The code that rounding gives four values."""
    code = 0
    for i in range(POINT):
        digit = nearest(HALF * (inverse * s[X * ROW + k * POINT + i] - ONE))
        code |= max(0, min(7, digit)) << 3 * i
    return code


@inner
def _point_at(s: Any, k: int, scale: float, tables: Any) -> int:
    """The code of the point of four values at one scale; -1 where ggml aborts. Uses the place of a try that is none."""
    code = _code_at(s, k, ONE / scale)
    found = tables[0][code]
    if found >= 0:
        return code
    s[SCALE * ROW + LANES] = scale
    store_floats(s, SPARE * ROW, floats_of_bits(_best_neighbours(s, k * POINT, LANES, -1 - found, tables)))
    return bits_of(s[SPARE * ROW])


@inner
def _fit(s: Any, scale: float) -> float:
    """The scale that fits the points in row KEPT best; `scale` if that cannot be said."""
    sum_x, sum_square = ZERO, ZERO
    for j in range(GROUP):
        level = np.float32(2 * (bits_of(s[KEPT * ROW + j // POINT]) >> 3 * (j % POINT) & 7) + 1)
        sum_x += s[PRODUCT * ROW + j] * level
        sum_square += s[WEIGHT * ROW + j] * level * level
    return sum_x / sum_square if sum_square > ZERO else scale


@inner
def solve(s: Any, numerators: Any, n_tries: int, tables: Any, keep_on_grid: bool) -> float:
    """The scale of a group, whose points' codes are in row KEPT then; NaN where ggml aborts.

    Points are chosen once more by the scale found; with `keep_on_grid` not those that rounding led to.
    """
    best = search(s, numerators, n_tries, tables)
    if best == -2:
        return np.float32(np.nan)
    scale = (
        s[SUM_X * ROW + best] / s[SUM_SQUARE * ROW + best] if best >= 0 else largest_of(s) / np.float32(15)
    )
    beside = 0 if keep_on_grid else 0xFF
    if best >= 0:
        beside = _beside(s, best, tables)
    for k in range(N_POINTS):
        s[KEPT * ROW + k] = s[(FOUND + k) * ROW + best] if best >= 0 else ZERO
    if beside == 0 or not scale > ZERO:
        return scale
    for k in range(N_POINTS):
        if beside >> k & 1 or not keep_on_grid:
            code = _point_at(s, k, scale, tables)
            if code < 0:
                return np.float32(np.nan)
            s[KEPT * ROW + k] = float_of(numba.int32(code))
    return _fit(s, scale)


@inner
def _beside(s: Any, t: int, tables: Any) -> int:
    """A bit for each four values that rounding leads beside the grid."""
    bits = 0
    for k in range(N_POINTS):
        bits |= (tables[0][bits_of(s[(ROUNDED + k) * ROW + t])] < 0) << k
    return bits
