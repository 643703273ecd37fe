"""IQ2_S: groups of eight become one of 1024 points and eight sign bits; 2.5625 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-33 | the low eight bits of 32 points, one per 8 elements |
| 34-65 | their signs, lowest bit first |
| 66-73 | the high two bits of the points, four to a byte, lowest first |
| 74-81 | scales: 4 bits per 16 elements, the even ones low |

value = d * (0.5 + scale) * 0.25 * level, negative where its sign bit is set. Levels are 8, 25 and 43 (quants/grids.py).

(ggml-quants.c: quantize_row_iq2_s_impl, dequantize_row_iq2_s; bit for bit.) Where every scale comes out zero, ggml
leaves points and signs of the search in place, and so do we.
"""

import numpy as np

from conversion.quants import lattice
from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import grid

BLOCK_SIZE, TYPE_SIZE, RUN = 256, 82, 16
ZERO_BELOW = np.float32(1e-8)
D_FACTOR = np.float32(0.9875)
_HIGH_SHIFTS = np.array([0, 2, 4, 6], dtype=np.uint8)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    power = lattice.power_of(blocks, 2)
    if importance is None:
        weights = np.float32(0.25) * power + blocks * blocks
    else:
        weights = lattice.weights_of(blocks, importance, power)
    without_sign = lattice.magnitudes(lattice.runs(blocks, RUN))
    found = lattice.search_runs_of_16(grid("IQ2_S"), without_sign.x, lattice.runs(weights, RUN), ZERO_BELOW)
    numbers = found.numbers.reshape(len(blocks), -1)
    scales = found.scale.reshape(-1, BLOCK_SIZE // RUN)
    largest = scales.max(axis=1, keepdims=True)
    d = largest / np.float32(31)
    steps = np.where(largest == 0, np.uint8(0), lattice.scale_steps(scales, d, 15))
    out[:, :2] = (d * D_FACTOR).astype("<f2").view(np.uint8)
    out[:, 2:34] = numbers & 255
    out[:, 34:66] = found.signs(without_sign.signs, 255).reshape(len(blocks), -1)
    high = (numbers >> 8).astype(np.uint8).reshape(len(blocks), -1, 4)
    out[:, 66:74] = np.bitwise_or.reduce(high << _HIGH_SHIFTS, axis=2)
    out[:, 74:] = steps[:, ::2] | (steps[:, 1::2] << 4)
    return lattice.first_aborted(found.is_aborted.reshape(scales.shape))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    high = (blocks[:, 66:74, None] >> _HIGH_SHIFTS).reshape(len(blocks), -1) & 3
    numbers = blocks[:, 2:34] | (high.astype(np.uint16) << np.uint16(8))
    lattice.decode(
        blocks[:, :2], lattice.nibbles(blocks[:, 74:]), grid("IQ2_S").values[numbers], blocks[:, 34:66], out
    )


IQ2_S = QuantType("IQ2_S", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,))
