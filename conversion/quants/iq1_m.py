"""IQ1_M: groups of eight become one of 2048 points of -1, 0 and 1, each shifted its own way; 1.75 bits a weight.

| bytes | what |
|---|---|
| 0-31 | the low eight bits of 32 points, one per 8 elements |
| 32-47 | 4 bits per 8 elements, the even ones low: the high three bits of the point, then the sign of its shift |
| 48-55 | 4 little-endian uint16: 3 bits of scale per 16 elements, four of them; on top 4 bits of d, lowest first |

value = d * (2 * scale + 1) * (digit - 1 + delta); d is a float16, delta 0.125, or -0.125 if the sign is set.

(ggml-quants.c of llama.cpp 82bb48500: quantize_row_iq1_m_impl, dequantize_row_iq1_m; bit for bit. A later llama.cpp
adds the same sums up in another order and writes some other bytes.) Without an importance matrix a weight counts by its
square. Where every scale comes out zero, ggml leaves the points of the search in place, and so do we.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants import lattice, ternary
from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import grid

BLOCK_SIZE, TYPE_SIZE, RUN = 256, 56, 16
ZERO_BELOW = np.float32(1e-7)
D_FACTOR = np.float32(1.1125)
N_SHIFTS = 4
"""The two groups of a run are shifted up and up, up and down, down and up, or down and down."""

_HALVES = np.array([0, 4], dtype=np.uint8)
_SCALE_SHIFTS = np.array([0, 3, 6, 9], dtype=np.uint16)
_D_SHIFTS = np.array([12, 8, 4, 0], dtype=np.uint16)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    if importance is None:
        all_weights = blocks * blocks
    else:
        all_weights = lattice.weights_of(blocks, importance, lattice.power_of(blocks, 2))
    x, weights = lattice.runs(blocks, RUN), lattice.runs(all_weights, RUN)
    split = _best_split(x, weights)
    ternary.finish(split, x, ZERO_BELOW, N_SHIFTS - 1)
    ways = np.stack([split.shifts >> 1, split.shifts & 1])
    found = ternary.to_points(x, weights, split, ways)
    numbers, scales = found.numbers.reshape(len(blocks), -1), found.scale.reshape(len(blocks), -1)
    largest = scales.max(axis=1, keepdims=True)
    is_empty = largest == 0
    steps = np.where(is_empty, np.uint8(0), lattice.scale_steps(scales, largest / np.float32(15), 7))
    signs = np.where(is_empty, 0, ways.T.reshape(numbers.shape))
    levels = ternary.LEVELS[signs[:, :, None], grid("IQ1_S").digits[numbers]].reshape(blocks.shape)
    levels = levels * np.repeat(2 * steps + 1, RUN, axis=1).astype(np.float32)
    d = _fitted_d(blocks, all_weights, levels, largest / np.float32(15))
    d = np.where(is_empty, np.float32(0), d * D_FACTOR)
    _pack(numbers | (signs << 11), steps, d.astype("<f2").view("<u2"), out)
    return lattice.first_aborted(found.is_aborted.reshape(scales.shape))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    words = np.ascontiguousarray(blocks[:, 48:]).view("<u2")
    steps = (words[:, :, None] >> _SCALE_SHIFTS).reshape(len(blocks), -1) & np.uint16(7)
    scales = _scale_bits(blocks).view("<f2").astype(np.float32)[:, None] * (2 * steps + 1).astype(np.float32)
    high = lattice.nibbles(blocks[:, 32:48])
    levels = grid("IQ1_S").values[blocks[:, :32] | ((high & 7).astype(np.uint16) << np.uint16(8))]
    levels += np.where(high & 8, -ternary.DELTA, ternary.DELTA)[:, :, None]
    shape = (*scales.shape, RUN)
    np.multiply(scales[:, :, None], levels.reshape(shape), out=out.reshape(shape))


def is_invalid(blocks: Bytes) -> npt.NDArray[np.bool_]:
    """True where d is not finite; its bits lie apart."""
    found: npt.NDArray[np.bool_] = _scale_bits(blocks) & np.uint16(0x7C00) == 0x7C00
    return found


def _scale_bits(blocks: Bytes) -> npt.NDArray[np.uint16]:
    words = np.ascontiguousarray(blocks[:, 48:]).view("<u2")
    bits: npt.NDArray[np.uint16] = np.bitwise_or.reduce((words & np.uint16(0xF000)) >> _D_SHIFTS, axis=1)
    return bits


def _best_split(x: Floats, weights: Floats) -> ternary.Split:
    """Where to cut the values, in order of size, into -1, 0 and 1, and which way to shift each group.

    As ggml sums up: the values of a part each times its level, parts one after the other.
    """
    best = ternary.no_split(x)
    of_x, of_square = _terms(x, weights, best.order)
    low_x, low_square = np.zeros((2, N_SHIFTS, x.shape[1]), dtype=np.float32)
    for low in range(RUN + 1):
        middle_x, middle_square = low_x.copy(), low_square.copy()
        for middle in range(low, RUN + 1):
            sums_x, sums_square = middle_x.copy(), middle_square.copy()
            for place in range(middle, RUN):
                sums_x += of_x[2, place]
                sums_square += of_square[2, place]
            for shifts in range(N_SHIFTS):
                ternary.try_cut(best, (sums_x[shifts], sums_square[shifts]), (low, middle, shifts))
            if middle < RUN:
                middle_x += of_x[1, middle]
                middle_square += of_square[1, middle]
        if low < RUN:
            low_x += of_x[0, low]
            low_square += of_square[0, low]
    return best


def _terms(x: Floats, weights: Floats, order: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """weight * level * x and weight * level ** 2 of each digit, place in order and shift: (3, 16, 4, n_lanes)."""
    sorted_x, sorted_w = (np.take_along_axis(values, order, axis=0) for values in (x, weights))
    is_second = order >= lattice.GROUP
    shape = (3, RUN, N_SHIFTS, x.shape[1])
    of_x, of_square = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    for shifts in range(N_SHIFTS):
        first, second = ternary.LEVELS[shifts >> 1], ternary.LEVELS[shifts & 1]
        for digit in range(3):
            level = np.where(is_second, second[digit], first[digit])
            of_x[digit, :, shifts] = sorted_w * level * sorted_x
            of_square[digit, :, shifts] = sorted_w * level * level
    return of_x, of_square


def _fitted_d(blocks: Floats, weights: Floats, levels: Floats, d: Floats) -> Floats:
    """The d that fits the whole block best with these levels; the one given where nothing fits."""
    sum_x = np.add.accumulate(weights * levels * blocks, axis=1)[:, -1:]
    sum_square = np.add.accumulate(weights * levels * levels, axis=1)[:, -1:]
    return np.where(sum_square > 0, sum_x / sum_square, d)


def _pack(numbers: lattice.Numbers, steps: Bytes, d: npt.NDArray[np.uint16], out: Bytes) -> None:
    """numbers: 11 bits of a point, and above them the sign of its shift."""
    out[:, :32] = numbers & 255
    high = (numbers >> 8).astype(np.uint8)
    out[:, 32:48] = np.bitwise_or.reduce(high.reshape(len(out), -1, 2) << _HALVES, axis=2)
    scales = np.bitwise_or.reduce(steps.astype(np.uint16).reshape(-1, 4, 4) << _SCALE_SHIFTS, axis=2)
    parts = ((d >> _D_SHIFTS[::-1]) & np.uint16(15)) << np.uint16(12)
    out[:, 48:] = (scales | parts).astype("<u2").view(np.uint8)


IQ1_M = QuantType("IQ1_M", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, is_invalid=is_invalid)
