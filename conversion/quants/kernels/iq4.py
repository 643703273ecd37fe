"""What the kernels of IQ4_NL and IQ4_XS share: the search for the scales of groups, and the nearest of sixteen levels.

ggml tries sixteen inverse scales per group of 32 and looks every element up each time, by binary search. Two facts make
that cheap without changing a bit:

* A level is the nearest one from a midpoint to the next: near midpoints both of ggml's differences are exact in
  float32. So a lookup is fifteen comparisons and no branch.
* Fifteen of the inverse scales are (-134 ... -120) / largest. They differ by less than 12 %, adjacent midpoints on
  one side of zero by more than 23 %, and rounding is monotone: over all of them an element meets at most one midpoint.
  So the terms of both sums are made once for the level below it and once for that above, and every try just picks.

Groups lie side by side, one per lane. The scratch is one array, so that the compiler sees that nothing overlaps, of
rows of LANES floats that fit in the L1 cache.
"""

from typing import Any

import numpy as np

from conversion.quants.iq4 import LEVELS, MIDPOINTS, SMALLEST_MAGNITUDE
from conversion.quants.kernels.compiling import inner

GROUP, LANES, PART, N_TRIES = 32, 32, 8, 15
X, W = 0, GROUP
"""First rows of the values and of their weights: element j of all lanes is row X + j."""

LARGEST, FIRST, SCALE, BEST = 64, 65, 66, 67
"""One row each: the value of largest magnitude, the inverse of the scale tried first, the best scale and its worth."""

INVERSE, SUM_X, SUM_SQUARE = 68, 84, 100
"""A row for each of the fifteen tries; of the sums one more, for the scale tried first."""

MIDPOINT, LOW_X, HIGH_X, LOW_SQUARE, HIGH_SQUARE, N_ROWS = 116, 124, 132, 140, 148, 156
"""A row for each of PART elements: the midpoint that it may meet, and the terms of both sums below and above it."""

_ABOVE = np.append(LEVELS[1:], LEVELS[-1])
_NEXT = np.append(MIDPOINTS[1:], np.float32(np.inf))
_ZERO, _ONE = np.float32(0), np.float32(1)


@inner
def nearest(value: float) -> int:
    """The number of the nearest level, of two equally near ones the upper; 15 for NaN, as in ggml."""
    number = np.int32(15)
    for i in range(15):
        number -= np.int32(value < MIDPOINTS[i])
    return number


@inner
def inverse_or_zero(scale: float) -> float:
    return _ONE / scale if scale != _ZERO else _ZERO


@inner
def load(lane: Any, values: Any, weights: Any, power: float) -> None:
    """Lays a group into a lane of the rows X and W, given the scratch from that lane on.

    weights: of its elements, or empty without an importance matrix. power: the mean square of its block, doubled.
    """
    if weights.size == 0:
        for j in range(GROUP):
            x = values[j]
            lane[(X + j) * LANES] = x
            lane[(W + j) * LANES] = x * x
    else:
        for j in range(GROUP):
            x = values[j]
            lane[(X + j) * LANES] = x
            lane[(W + j) * LANES] = weights[j] * np.sqrt(power + x * x)


@inner
def write(values: Any, scale: float, nibbles: Any) -> None:
    """Fills 16 bytes with the numbers of a group's 32 elements by its scale, 0 for a group of zeros."""
    inverse = inverse_or_zero(scale)
    for j in range(GROUP // 2):
        low, high = nearest(inverse * values[j]), nearest(inverse * values[GROUP // 2 + j])
        nibbles[j] = low | (high << 4)


@inner
def decode(nibbles: Any, scale: float, values: Any) -> None:
    """Fills 32 values from 16 bytes."""
    for j in range(GROUP // 2):
        byte = nibbles[j]
        values[j] = scale * LEVELS[byte & 15]
        values[GROUP // 2 + j] = scale * LEVELS[byte >> 4]


@inner
def search(s: Any) -> None:
    """Finds the row SCALE from the rows X and W: the best of sixteen, 0 for a group that counts as all zero."""
    _begin(s)
    for first in range(0, GROUP, PART):
        for j in range(PART):
            _prepare(s, s[(first + j) * LANES :], s[j * LANES :])
        for k in range(N_TRIES):
            _add(s, s[first * LANES :], s[k * LANES :])
    _choose(s)


@inner
def _begin(s: Any) -> None:
    """Finds LARGEST and the inverse scales; clears the sums."""
    for lane in range(LANES):
        s[LARGEST * LANES + lane] = _ZERO
    for j in range(GROUP):
        for lane in range(LANES):
            value, largest = s[(X + j) * LANES + lane], s[LARGEST * LANES + lane]
            s[LARGEST * LANES + lane] = value if abs(value) > abs(largest) else largest
    for lane in range(LANES):
        largest = s[LARGEST * LANES + lane]
        # A group that counts as zero is given any scale; its result is thrown away.
        largest = _ONE if abs(largest) < SMALLEST_MAGNITUDE else largest
        s[BEST * LANES + lane] = largest
        s[FIRST * LANES + lane] = _ONE / (-largest / LEVELS[0])
    for k in range(N_TRIES):
        for lane in range(LANES):
            s[(INVERSE + k) * LANES + lane] = (np.float32(k - 7) + LEVELS[0]) / s[BEST * LANES + lane]
    for i in range(2 * (N_TRIES + 1) * LANES):
        s[SUM_X * LANES + i] = _ZERO


@inner
def _prepare(s: Any, element: Any, part: Any) -> None:
    """What the tries need of one element: its row of `part`. And its terms for the scale tried first."""
    for lane in range(LANES):
        x, w = element[X * LANES + lane], element[W * LANES + lane]
        one_end, other_end = s[INVERSE * LANES + lane] * x, s[(INVERSE + N_TRIES - 1) * LANES + lane] * x
        lower = one_end if one_end < other_end else other_end
        low, high, midpoint = LEVELS[0], _ABOVE[0], MIDPOINTS[0]
        for i in range(15):
            passed = lower >= MIDPOINTS[i]
            low = LEVELS[i + 1] if passed else low
            high = _ABOVE[i + 1] if passed else high
            midpoint = _NEXT[i] if passed else midpoint
        part[MIDPOINT * LANES + lane] = midpoint
        part[LOW_X * LANES + lane] = w * low * x
        part[HIGH_X * LANES + lane] = w * high * x
        part[LOW_SQUARE * LANES + lane] = w * low * low
        part[HIGH_SQUARE * LANES + lane] = w * high * high
    for lane in range(LANES):
        x, w = element[X * LANES + lane], element[W * LANES + lane]
        first, level = s[FIRST * LANES + lane] * x, LEVELS[0]
        for i in range(15):
            level = LEVELS[i + 1] if first >= MIDPOINTS[i] else level
        s[(SUM_X + N_TRIES) * LANES + lane] += w * level * x
        s[(SUM_SQUARE + N_TRIES) * LANES + lane] += w * level * level


@inner
def _add(s: Any, elements: Any, tried: Any) -> None:
    """Adds the terms of a part, whose elements are given, to the sums of a try, in their order."""
    for lane in range(LANES):
        inverse = tried[INVERSE * LANES + lane]
        sum_x, sum_square = tried[SUM_X * LANES + lane], tried[SUM_SQUARE * LANES + lane]
        for j in range(PART):
            passed = inverse * elements[(X + j) * LANES + lane] >= s[(MIDPOINT + j) * LANES + lane]
            high_x, low_x = s[(HIGH_X + j) * LANES + lane], s[(LOW_X + j) * LANES + lane]
            high_square, low_square = s[(HIGH_SQUARE + j) * LANES + lane], s[(LOW_SQUARE + j) * LANES + lane]
            sum_x += high_x if passed else low_x
            sum_square += high_square if passed else low_square
        tried[SUM_X * LANES + lane] = sum_x
        tried[SUM_SQUARE * LANES + lane] = sum_square


@inner
def _choose(s: Any) -> None:
    """The scale that explains most; the one tried first has its sums in the last rows."""
    for lane in range(LANES):
        sum_x, sum_square = s[(SUM_X + N_TRIES) * LANES + lane], s[(SUM_SQUARE + N_TRIES) * LANES + lane]
        scale = sum_x / sum_square if sum_square > _ZERO else _ZERO
        s[SCALE * LANES + lane] = scale
        s[BEST * LANES + lane] = scale * sum_x
    for k in range(N_TRIES):
        for lane in range(LANES):
            sum_x, sum_square = s[(SUM_X + k) * LANES + lane], s[(SUM_SQUARE + k) * LANES + lane]
            best, scale = s[BEST * LANES + lane], sum_x / sum_square
            better = (sum_square > _ZERO) & (sum_x * sum_x > best * sum_square)
            s[SCALE * LANES + lane] = scale if better else s[SCALE * LANES + lane]
            s[BEST * LANES + lane] = scale * sum_x if better else best
    for lane in range(LANES):
        if abs(s[LARGEST * LANES + lane]) < SMALLEST_MAGNITUDE:
            s[SCALE * LANES + lane] = _ZERO
