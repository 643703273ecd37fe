"""IQ2_XXS: groups of eight become one of 256 points and seven sign bits; 2.0625 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-65 | per 32 elements 4 bytes, a point each, and a little-endian uint32: 4 times 7 sign bits, then 4 of scale |

value = d * (0.5 + scale) * 0.25 * level, negative where its sign bit is set; the number of negative signs is even, so
the eighth sign follows from the others. Levels are 8, 25 and 43 (quants/grids.py).

(ggml-quants.c: quantize_row_iq2_xxs_impl, make_qp_quants, dequantize_row_iq2_xxs; bit for bit. Only with an importance
matrix.)
"""

import numpy as np

from conversion.quants import lattice
from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import Grid, grid
from conversion.quants.rounding import nearest_int

BLOCK_SIZE, TYPE_SIZE, RUN = 256, 66, 32
ZERO_BELOW = np.float32(1e-15)
_SIGN_SHIFTS = np.array([0, 7, 14, 21], dtype=np.uint32)
_ZERO, _ONE = np.float32(0), np.float32(1)
N_MAX = 4


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    weights = lattice.runs(lattice.weights_of(blocks, importance, lattice.power_of(blocks, 1)), RUN)
    without_sign = lattice.even_magnitudes(lattice.runs(blocks, RUN), weights)
    found = _search(grid("IQ2_XXS"), without_sign.x, weights)
    scales = found.scale.reshape(-1, BLOCK_SIZE // RUN)
    largest = scales.max(axis=1, keepdims=True)
    d = largest / np.float32(31)
    words = np.empty((len(found.scale), 2), dtype="<u4")
    words[:, 0] = np.ascontiguousarray(found.numbers.astype(np.uint8)).view("<u4")[:, 0]
    signs = found.signs(without_sign.signs, 127).astype(np.uint32) << _SIGN_SHIFTS
    steps = lattice.scale_steps(scales, d, 15).reshape(-1).astype(np.uint32)
    words[:, 1] = np.bitwise_or.reduce(signs, axis=1) | (steps << np.uint32(28))
    out[:, :2] = d.astype("<f2").view(np.uint8)
    out[:, 2:] = words.reshape(len(blocks), -1).view(np.uint8)
    out[largest[:, 0] == 0] = 0
    return lattice.first_aborted(found.is_aborted.reshape(scales.shape))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    words = np.ascontiguousarray(blocks[:, 2:]).view("<u4").reshape(len(blocks), -1, 2)
    numbers = np.ascontiguousarray(words[:, :, 0]).view(np.uint8)
    signs = (words[:, :, 1:] >> _SIGN_SHIFTS).reshape(len(blocks), -1) & 127
    scales = (words[:, :, 1] >> np.uint32(28)).astype(np.uint8)
    lattice.decode(blocks[:, :2], scales, grid("IQ2_XXS").values[numbers], lattice.EVEN_SIGNS[signs], out)


def _search(points: Grid, x: Floats, weights: Floats) -> lattice.Found:
    """The best of thirteen scales around one that fits plain numbers 0 … 4, and every group rounded once more by it."""
    roots = np.sqrt(weights)
    scale = fit_to_4(x, weights)
    reach = scale * np.float32(3)
    is_zero = (x.max(axis=0) < ZERO_BELOW) | (reach <= 0)
    best = np.zeros_like(scale)
    digits = np.zeros(x.shape, dtype=np.uint8)
    is_aborted = np.zeros(scale.shape, dtype=np.bool_)
    for step in range(-6, 7):
        inverse = (np.float32(5) + np.float32(step) * np.float32(0.1)) / reach
        nearest = lattice.nearest_digits(x, inverse)
        tried = lattice.to_grid(points, nearest, x, roots, lattice.scaled_odd_levels(_ONE / inverse))
        is_aborted |= tried.is_missing
        sum_x, sum_square = lattice.fit(x, weights, lattice.odd_levels(tried.digits))
        is_better = (sum_square > 0) & (sum_x * sum_x > best * sum_square)
        scale = np.where(is_better, sum_x / sum_square, scale)
        best = np.where(is_better, scale * sum_x, best)
        np.copyto(digits, tried.digits, where=is_better)
    is_positive = scale > 0
    digits = np.where(is_positive, lattice.nearest_digits(x, _ONE / scale), digits)
    found = lattice.to_grid(points, digits, x, roots, lattice.scaled_odd_levels(scale))
    is_aborted |= found.is_missing
    sum_x, sum_square = lattice.fit(x, weights, lattice.odd_levels(found.digits))
    scale = np.where(is_positive & (sum_square > 0), sum_x / sum_square, scale)
    return lattice.finished(scale, found.numbers, is_zero, is_aborted)


def fit_to_4(x: Floats, weights: Floats) -> Floats:
    """The scale by which numbers 0 … 4 fit the values best, as ggml's make_qp_quants finds it.

    A value turned negative gets a number below zero, which ggml keeps in a byte, so that -1 becomes 255 there; we do
    as it does.
    """
    largest = np.maximum(x.max(axis=0), _ZERO)
    is_zero = largest < ZERO_BELOW
    inverse = np.float32(N_MAX) / largest
    least = _error(x, weights, _ONE / inverse, nearest_int(inverse * x) & 255)
    for step in range(-4, 5):
        if step == 0:
            continue
        candidate = (np.float32(0.1) * np.float32(step) + np.float32(N_MAX)) / largest
        numbers = np.minimum(nearest_int(candidate * x), N_MAX)
        error = _error(x, weights, _ONE / candidate, numbers)
        is_better = error < least
        least, inverse = np.where(is_better, error, least), np.where(is_better, candidate, inverse)
    numbers = np.minimum(nearest_int(inverse * x), N_MAX)
    sum_x, sum_square = lattice.fit(x, weights, numbers.astype(np.float32))
    sum_x, sum_square = _refined(x, weights, (numbers & 255).astype(np.float32), sum_x, sum_square)
    return np.where(~is_zero & (sum_square > 0), sum_x / sum_square, _ZERO)


def _error(x: Floats, weights: Floats, scale: Floats, numbers: np.ndarray) -> Floats:
    difference = x - scale * numbers.astype(np.float32)
    total = np.zeros_like(scale)
    for term in weights * difference * difference:
        total += term
    return total


def _refined(
    x: Floats, weights: Floats, numbers: Floats, sum_x: Floats, sum_square: Floats
) -> tuple[Floats, Floats]:
    """Five rounds in which one number after the other moves to where it fits best. A round that changes nothing would
    be the last in ggml; more of them change nothing either."""
    for _ in range(5):
        for value, weight, number in zip(x, weights, numbers, strict=True):
            rest_x = sum_x - weight * value * number
            rest_square = sum_square - weight * number * number
            moved = np.minimum(nearest_int(value * rest_square / rest_x), N_MAX).astype(np.float32)
            new_x, new_square = rest_x + weight * value * moved, rest_square + weight * moved * moved
            is_better = (rest_x > 0) & (rest_square > 0) & (moved != number)
            is_better &= new_x * new_x * sum_square > sum_x * sum_x * new_square
            sum_x, sum_square = np.where(is_better, new_x, sum_x), np.where(is_better, new_square, sum_square)
            number[is_better] = (moved[is_better].astype(np.int32) & 255).astype(np.float32)
    return sum_x, sum_square


IQ2_XXS = QuantType(
    "IQ2_XXS", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,), needs_imatrix=True
)
