"""What IQ4_NL and IQ4_XS share: sixteen unevenly spaced levels, and the search for the scale of a group of 32.

The levels are those of a 4-bit number; they lie closer together near zero, where most weights are. A value is stored
as the number of the nearest level, of two equally near ones the upper.

(ggml-quants.c: best_index_int8, quantize_row_iq4_nl_impl with ntry = 7, kvalues_iq4nl; bit for bit.)
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance

GROUP = 32
LEVELS = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32
)
MIDPOINTS: Floats = (LEVELS[1:] + LEVELS[:-1]) / np.float32(2)
"""Where the nearest level changes: near a midpoint both of ggml's differences are exact in float32."""

SMALLEST_MAGNITUDE = np.float32(1e-15)
"""A group whose largest magnitude is smaller counts as all zero."""

Indices = npt.NDArray[np.intp]


def nearest(values: Floats) -> Indices:
    """Numbers of the nearest levels; 15 for NaN, as in ggml."""
    return np.searchsorted(MIDPOINTS, values, side="right")


def weights_of(blocks: Floats, importance: Importance | None) -> Floats:
    """What each value weighs in the search: its square, or its importance times a magnitude smoothed over its block."""
    if importance is None:
        return blocks * blocks
    size = np.float32(2.0 / blocks.shape[1])
    # accumulate adds strictly from left to right, as the C loop does; sum() would add in pairs.
    power = np.add.accumulate(blocks * blocks, axis=1, dtype=np.float32)[:, -1:] * size
    return importance.weights * np.sqrt(power + blocks * blocks)


def search_scales(groups: Floats, weights: Floats) -> Floats:
    """float32 (n_groups,): the best scale of sixteen tried for each group; 0 for a group that counts as zero.

    groups, weights: float32 (n_groups, 32). Groups are worked on side by side; within each, sums run over its elements
    in order, every step rounded to float32.
    """
    elements, weight = np.ascontiguousarray(groups.T), np.ascontiguousarray(weights.T)
    first_largest = np.abs(groups).argmax(axis=1)[:, None]
    largest = np.take_along_axis(groups, first_largest, axis=1)[:, 0]
    is_zero = np.abs(largest) < SMALLEST_MAGNITUDE
    sum_qx, sum_q2 = _try(elements, weight, np.float32(1) / (-largest / LEVELS[0]))
    scale = np.where(sum_q2 > 0, sum_qx / sum_q2, np.float32(0))
    best = scale * sum_qx
    for step in range(-7, 8):
        sum_qx, sum_q2 = _try(elements, weight, (np.float32(step) + LEVELS[0]) / largest)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = np.where(better, sum_qx / sum_q2, scale)
        best = np.where(better, scale * sum_qx, best)
    return np.where(is_zero, np.float32(0), scale)


def _try(elements: Floats, weight: Floats, inverse: Floats) -> tuple[Floats, Floats]:
    levels = LEVELS[nearest(elements * inverse)]
    sum_qx, sum_q2 = np.zeros_like(inverse), np.zeros_like(inverse)
    weighted = weight * levels
    for product, square in zip(weighted * elements, weighted * levels, strict=True):
        sum_qx += product
        sum_q2 += square
    return sum_qx, sum_q2


def inverse_or_zero(scales: Floats) -> Floats:
    """1 / scale, or 0 where the scale is 0."""
    return np.where(scales == 0, np.float32(0), np.float32(1) / scales)


def pack(numbers: Bytes) -> Bytes:
    """uint8 (n, 16) of numbers (n, 32): element j in the low half of byte j, element j + 16 in the high one."""
    packed: Bytes = numbers[:, :16] | (numbers[:, 16:] << np.uint8(4))
    return packed


def unpack(nibbles: Bytes) -> Floats:
    """float32 (n, 32): the levels that (n, 16) bytes name."""
    levels: Floats = LEVELS[np.concatenate([nibbles & 15, nibbles >> 4], axis=1)]
    return levels
