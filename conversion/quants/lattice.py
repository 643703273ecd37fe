"""What the IQ1 and IQ2 types share: rounding groups of eight weights to points of a grid.

Everything here is laid out with elements first: `(elements, n_lanes)`, a run of a block in each lane, so that every sum
runs over its elements in C's order, for all lanes side by side.

(ggml-quants.c: iq2_find_best_neighbour, iq1_find_best_neighbour2, quantize_row_iq2_xs_impl; bit for bit.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance, QuantError
from conversion.quants.grids import Grid
from conversion.quants.rounding import nearest_int

BLOCK_SIZE, GROUP = 256, 8
FLT_MAX = np.finfo(np.float32).max
_NEIGHBOURS_AT_ONCE = 1 << 18
_HALF, _ONE = np.float32(0.5), np.float32(1)
_DIGITS = np.arange(3, dtype=np.float32)[:, None]
_CODE_SHIFTS = 2 * np.arange(GROUP)[:, None]

EVEN_SIGNS = np.arange(128, dtype=np.uint8) | (
    (np.bitwise_count(np.arange(128, dtype=np.uint8)) & np.uint8(1)) << np.uint8(7)
)
"""All eight signs for the first seven: an even number of them is negative."""

SIGN_FACTORS = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"),
    np.float32(-1),
    np.float32(1),
)
"""float32 (256, 8): what eight sign bits multiply by."""

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int32]

ODD_LEVELS = tuple(np.float32(level) for level in (1, 3, 5))
"""What the digits of an IQ2 point stand for while quantising."""


def runs(blocks: Floats, size: int) -> Floats:
    """(size, n_lanes): every run of `size` values in a lane, in order."""
    return np.ascontiguousarray(blocks.reshape(-1, size).T)


def power_of(blocks: Floats, factor: int) -> Floats:
    """(n_blocks, 1): `factor` times the mean square of each block, added up from left to right."""
    # accumulate adds strictly in order, as the C loop does; sum() would add in pairs.
    total: Floats = np.add.accumulate(blocks * blocks, axis=1)[:, -1:]
    return np.float32(factor) * total / np.float32(BLOCK_SIZE)


def weights_of(blocks: Floats, importance: Importance | None, power: Floats) -> Floats:
    """How much each value counts: its importance times the root of its square and the block's `power`."""
    if importance is None:
        raise QuantError("imatrix-required", "this type is made with an importance matrix or not at all.")
    return importance.weights * np.sqrt(power + blocks * blocks)


@dataclass(frozen=True)
class Magnitudes:
    """Values without their signs.

    x: float32 (size, n_lanes). signs: uint8 (n_lanes, size / 8), a bit for each negative value, lowest first.
    """

    x: Floats
    signs: Bytes


def magnitudes(values: Floats) -> Magnitudes:
    is_negative = values < 0
    return Magnitudes(np.where(is_negative, -values, values), _packed(is_negative))


def even_magnitudes(values: Floats, weights: Floats) -> Magnitudes:
    """As `magnitudes`, but of the signs of each group an even number is negative, so that 7 of the 8 bits say all.

    Where it would be odd, the least costly value (the first of the smallest weight * x * x) changes its sign; its
    magnitude is then below zero.
    """
    is_negative = (values < 0).reshape(-1, GROUP, values.shape[1])
    cost = (weights * values * values).reshape(is_negative.shape)
    # C's `<` never prefers NaN, but a NaN in front keeps its place.
    cheapest = np.where(np.isnan(cost[:, 0]), 0, np.where(np.isnan(cost), np.inf, cost).argmin(axis=1))
    is_odd = is_negative.sum(axis=1) % 2 == 1
    flipped = is_odd[:, None] & (np.arange(GROUP)[:, None] == cheapest[:, None])
    turned = (is_negative ^ flipped).reshape(values.shape)
    return Magnitudes(np.where(turned, -values, values), _packed(turned) & np.uint8(127))


def _packed(is_negative: Mask) -> Bytes:
    return np.packbits(is_negative.T.reshape(is_negative.shape[1], -1, GROUP), axis=2, bitorder="little")[
        :, :, 0
    ]


def nearest_digits(x: Floats, inverse: Floats) -> Bytes:
    """The digit of the level 1, 3 or 5 nearest to each inverse * x."""
    return np.clip(nearest_int(_HALF * (inverse * x - _ONE)), 0, 2).astype(np.uint8)


@dataclass(frozen=True)
class Points:
    """Grid points for the groups of each lane.

    numbers: int32 (size / 8, n_lanes), -1 where ggml finds none and aborts. digits: uint8 (size, n_lanes).
    was_on_grid: bool (size / 8, n_lanes), whether the digits given were a point.
    """

    numbers: Numbers
    digits: Bytes
    was_on_grid: Mask

    @property
    def is_missing(self) -> Mask:
        """bool (n_lanes,): ggml aborts on one of the groups."""
        found: Mask = np.logical_or.reduce(self.numbers < 0, axis=0)
        return found


def to_grid(grid: Grid, digits: Bytes, x: Floats, weights: Floats, levels: Floats) -> Points:
    """The groups as they are where they lie on the grid, else their best neighbours.

    The best has the first smallest sum of weight * (level - x) ** 2. levels: float32 (3, size, n_lanes) or what
    broadcasts to that: what the digits stand for, scale and all.
    """
    shape = (-1, GROUP, digits.shape[1])
    codes = (digits.reshape(shape).astype(np.int32) << _CODE_SHIFTS).sum(axis=1, dtype=np.int32)
    numbers = grid.point_at[codes]
    beside = numbers < 0
    if beside.any():
        difference = np.broadcast_to(levels, (3, *x.shape)) - x
        costs = (weights * difference * difference).reshape(3, *x.reshape(shape).shape)
        group, lane = np.nonzero(beside)
        numbers[group, lane] = _best_neighbours(grid, codes[group, lane], costs[:, group, :, lane])
    on_grid = grid.digits[numbers].transpose(0, 2, 1).reshape(digits.shape)
    return Points(numbers, on_grid, ~beside)


def _best_neighbours(grid: Grid, codes: Numbers, costs: Floats) -> Numbers:
    """costs: float32 (n_codes, 3, 8), what digit d at place k costs. Lists are worked off some at a time."""
    best = np.empty(len(codes), dtype=np.int32)
    ends = np.cumsum(grid.count[codes], dtype=np.int64)
    first = 0
    while first < len(codes):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _NEIGHBOURS_AT_ONCE, side="right")))
        best[first:last] = _best_of_lists(grid, codes[first:last], costs[first:last])
        first = last
    return best


def _best_of_lists(grid: Grid, codes: Numbers, costs: Floats) -> Numbers:
    count = grid.count[codes]
    starts = np.cumsum(count) - count
    owner = np.repeat(np.arange(len(codes)), count)
    numbers = grid.neighbours[np.repeat(grid.first[codes] - starts, count) + np.arange(len(owner))]
    distance = np.zeros(len(owner), dtype=np.float32)
    for k, digit in enumerate(grid.digits[numbers].T):
        distance += costs[owner, digit, k]
    distance = np.where(distance < FLT_MAX, distance, np.float32(np.inf))
    least = np.minimum.reduceat(distance, starts)
    is_least = np.flatnonzero(distance == least[owner])
    is_first = np.diff(owner[is_least], prepend=-1) > 0
    return np.where(np.isinf(least), np.int32(-1), numbers[is_least[is_first]].astype(np.int32))


def fit(x: Floats, weights: Floats, levels: Floats) -> tuple[Floats, Floats]:
    """(sum of weight * x * level, sum of weight * level * level) of each lane."""
    sum_x = np.zeros(x.shape[1], dtype=np.float32)
    sum_square = np.zeros(x.shape[1], dtype=np.float32)
    for x_term, square_term in zip(weights * x * levels, weights * levels * levels, strict=True):
        sum_x += x_term
        sum_square += square_term
    return sum_x, sum_square


def odd_levels(digits: Bytes) -> Floats:
    return (2 * digits + 1).astype(np.float32)


def scaled_odd_levels(scale: Floats) -> Floats:
    """(3, 1, n_lanes): what the digits stand for at each lane's scale."""
    return np.stack([scale * level for level in ODD_LEVELS])[:, None]


@dataclass(frozen=True)
class Found:
    """What a search found for each lane.

    scale: float32 (n_lanes,), never negative. numbers: int32 (n_lanes, size / 8) of grid points. is_zero: the run
    counts as zeros: no scale, points 0, no signs. is_flipped: the scale was negative, so every sign is turned round.
    is_aborted: ggml aborts here.
    """

    scale: Floats
    numbers: Numbers
    is_zero: Mask
    is_flipped: Mask
    is_aborted: Mask

    def signs(self, signs: Bytes, all_set: int) -> Bytes:
        turned = signs ^ np.where(self.is_flipped, np.uint8(all_set), np.uint8(0))[:, None]
        return np.where(self.is_zero[:, None], np.uint8(0), turned)


def search_runs_of_16(grid: Grid, x: Floats, weights: Floats, zero_below: np.float32) -> Found:
    """The best of nineteen scales for runs of sixteen magnitudes, as IQ2_XS and IQ2_S choose it.

    Groups that were beside the grid are then rounded once more, by the scale that was found. A run whose largest
    magnitude is below `zero_below` gets the scale 0 and the points 0.
    """
    roots = np.sqrt(weights)
    largest: Floats = x.max(axis=0)
    is_zero = largest < zero_below
    n_lanes = len(largest)
    scale, best = largest / np.float32(5), np.zeros(n_lanes, dtype=np.float32)
    digits, is_on_grid = np.zeros(x.shape, dtype=np.uint8), np.ones((2, n_lanes), dtype=np.bool_)
    is_aborted = np.zeros(n_lanes, dtype=np.bool_)
    for step in range(-9, 10):
        inverse = (np.float32(5) + np.float32(step) * np.float32(0.1)) / largest
        tried = to_grid(grid, nearest_digits(x, inverse), x, roots, scaled_odd_levels(_ONE / inverse))
        is_aborted |= tried.is_missing
        sum_x, sum_square = fit(x, weights, odd_levels(tried.digits))
        is_better = (sum_square > 0) & (sum_x * sum_x > best * sum_square)
        scale = np.where(is_better, sum_x / sum_square, scale)
        best = np.where(is_better, scale * sum_x, best)
        np.copyto(digits, tried.digits, where=is_better)
        np.copyto(is_on_grid, tried.was_on_grid, where=is_better)
    again = ~is_on_grid & (scale > 0)
    digits = np.where(np.repeat(again, GROUP, axis=0), nearest_digits(x, _ONE / scale), digits)
    points = to_grid(grid, digits, x, roots, scaled_odd_levels(scale))
    is_aborted |= points.is_missing
    sum_x, sum_square = fit(x, weights, odd_levels(points.digits))
    scale = np.where(again.any(axis=0) & (sum_square > 0), sum_x / sum_square, scale)
    return finished(scale, points.numbers, is_zero, is_aborted)


def finished(scale: Floats, numbers: Numbers, is_zero: Mask, is_aborted: Mask) -> Found:
    """What was found, with lanes of zeros cleared and scales made positive; ggml aborts if one is NaN."""
    scale = np.where(is_zero, np.float32(0), scale)
    return Found(
        scale=np.abs(scale),
        numbers=np.where(is_zero, 0, numbers).T,
        is_zero=is_zero,
        is_flipped=scale < 0,
        is_aborted=~is_zero & (is_aborted | np.isnan(scale)),
    )


def scale_steps(scales: Floats, d: Floats, n_max: int) -> Bytes:
    """uint8 (n_blocks, n_scales), 0 … n_max: which odd multiple of d each scale is nearest to; d is (n_blocks, 1)."""
    return np.clip(nearest_int(_HALF * ((_ONE / d) * scales - _ONE)), 0, n_max).astype(np.uint8)


def first_aborted(is_aborted: Mask) -> int:
    """1 + the number of the first block (row) with an aborted lane, or 0."""
    rows = is_aborted.any(axis=1)
    return 1 + int(rows.argmax()) if rows.any() else 0


def nibbles(data: Bytes) -> Bytes:
    """uint8 (n, 2 * m) of uint8 (n, m): the low four bits of each byte, then its high ones."""
    return np.stack([data & 15, data >> 4], axis=2).reshape(len(data), -1)


def decode(d: Bytes, scales: Bytes, levels: Floats, signs: Bytes, out: Floats) -> None:
    """Fills `out` with d * (0.5 + scale) * 0.25 * level, negative where a sign bit is set.

    d: the bytes of a float16 (n, 2). scales: uint8 (n, m). levels: float32 (n, 32, 8); signs: uint8 (n, 32).
    """
    scale = half_floats(d) * (_HALF + scales.astype(np.float32)) * np.float32(0.25)
    shape = (*scales.shape, -1)
    np.multiply(scale[:, :, None], levels.reshape(shape), out=out.reshape(shape))
    out *= SIGN_FACTORS[signs].reshape(out.shape)


def half_floats(data: Bytes) -> Floats:
    """float32 (n, m) of the bytes of float16 (n, 2 * m)."""
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)
