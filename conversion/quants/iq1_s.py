"""IQ1_S: groups of eight become one of 2048 points of -1, 0 and 1; 1.5625 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-33 | the low eight bits of 32 points, one per 8 elements |
| 34-49 | 8 little-endian uint16, one per 32 elements: 4 times the high three bits of a point, 3 bits of scale, a sign |

value = d * (2 * scale + 1) * (digit - 1 + delta), where delta is 0.125, or -0.125 if the sign is set.

(ggml-quants.c: quantize_row_iq1_s_impl, dequantize_row_iq1_s; bit for bit. Only with an importance matrix.) Where every
scale comes out zero, ggml leaves the points of the search in place, and so do we.
"""

import numpy as np

from conversion.quants import lattice, ternary
from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import grid

BLOCK_SIZE, TYPE_SIZE, RUN = 256, 50, 32
ZERO_BELOW = np.float32(1e-12)
D_FACTOR = np.float32(1.125)
_POINT_SHIFTS = np.array([0, 3, 6, 9], dtype=np.uint16)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    power = lattice.power_of(blocks, 2)
    x = lattice.runs(blocks, RUN)
    weights = lattice.runs(lattice.weights_of(blocks, importance, power), RUN)
    split = _best_split(x, weights)
    ternary.finish(split, x, ZERO_BELOW, ternary.DOWN)
    found = ternary.to_points(x, weights, split, np.stack([split.shifts] * (RUN // lattice.GROUP)))
    scales = found.scale.reshape(-1, BLOCK_SIZE // RUN)
    largest = scales.max(axis=1, keepdims=True)
    d = largest / np.float32(15)
    steps = lattice.scale_steps(scales, d, 7) | (split.shifts.astype(np.uint8) << 3).reshape(scales.shape)
    steps = np.where(largest == 0, np.uint8(0), steps)
    numbers = found.numbers.reshape(len(blocks), -1, 4)
    high = np.bitwise_or.reduce((numbers >> 8).astype(np.uint16) << _POINT_SHIFTS, axis=2)
    out[:, :2] = (d * D_FACTOR).astype("<f2").view(np.uint8)
    out[:, 2:34] = (numbers & 255).reshape(len(blocks), -1)
    out[:, 34:] = (high | (steps.astype(np.uint16) << np.uint16(12))).astype("<u2").view(np.uint8)
    return lattice.first_aborted(found.is_aborted.reshape(scales.shape))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    words = np.ascontiguousarray(blocks[:, 34:]).view("<u2")
    high = (words[:, :, None] >> _POINT_SHIFTS).reshape(len(blocks), -1) & np.uint16(7)
    levels = grid("IQ1_S").values[blocks[:, 2:34] | (high << np.uint16(8))]
    scales = lattice.half_floats(blocks[:, :2]) * (2 * ((words >> np.uint16(12)) & 7) + 1).astype(np.float32)
    shape = (*words.shape, RUN)
    delta = np.where(words & np.uint16(0x8000), -ternary.DELTA, ternary.DELTA)
    shifted = levels.reshape(shape) + delta[:, :, None]
    np.multiply(scales[:, :, None], shifted, out=out.reshape(shape))


def _best_split(x: Floats, weights: Floats) -> ternary.Split:
    """Where to cut the values, in order of size, into -1, 0 and 1, and which way to shift these: all ways are tried."""
    best = ternary.no_split(x)
    sum_x = ternary.running_sums(np.take_along_axis(weights * x, best.order, axis=0))
    sum_w = ternary.running_sums(np.take_along_axis(weights, best.order, axis=0))
    for low in range(RUN + 1):
        for middle in range(low, RUN + 1):
            x_low, x_middle, x_high = sum_x[low], sum_x[middle] - sum_x[low], sum_x[RUN] - sum_x[middle]
            w_low, w_middle, w_high = sum_w[low], sum_w[middle] - sum_w[low], sum_w[RUN] - sum_w[middle]
            for shift, (a, b, c) in enumerate(ternary.LEVELS):
                fit_x = x_low * a + x_middle * b + x_high * c
                fit_square = w_low * a * a + w_middle * b * b + w_high * c * c
                ternary.try_cut(best, (fit_x, fit_square), (low, middle, shift))
    return best


IQ1_S = QuantType(
    "IQ1_S", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,), needs_imatrix=True
)
