"""IQ2_XS: groups of eight become one of 512 points and seven sign bits; 2.3125 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-65 | 32 little-endian uint16, one per 8 elements: bits 0-8 the point, bits 9-15 the signs of the first seven |
| 66-73 | scales: 4 bits per 16 elements, the even ones low |

value = d * (0.5 + scale) * 0.25 * level, negative where its sign bit is set; the number of negative signs is even, so
the eighth sign follows from the others. Levels are 8, 25 and 43 (quants/grids.py).

(ggml-quants.c: quantize_row_iq2_xs_impl, dequantize_row_iq2_xs; bit for bit. Only with an importance matrix.)
"""

import numpy as np

from conversion.quants import lattice
from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import grid

BLOCK_SIZE, TYPE_SIZE, RUN = 256, 74, 16
ZERO_BELOW = np.float32(1e-15)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    weights = lattice.runs(lattice.weights_of(blocks, importance, lattice.power_of(blocks, 1)), RUN)
    without_sign = lattice.even_magnitudes(lattice.runs(blocks, RUN), weights)
    found = lattice.search_runs_of_16(grid("IQ2_XS"), without_sign.x, weights, ZERO_BELOW)
    codes = found.numbers.astype("<u2") | (found.signs(without_sign.signs, 127).astype("<u2") << np.uint16(9))
    scales = found.scale.reshape(-1, BLOCK_SIZE // RUN)
    largest = scales.max(axis=1, keepdims=True)
    d = largest / np.float32(31)
    steps = lattice.scale_steps(scales, d, 15)
    out[:, :2] = d.astype("<f2").view(np.uint8)
    out[:, 2:66] = codes.reshape(len(blocks), -1).view(np.uint8)
    out[:, 66:] = steps[:, ::2] | (steps[:, 1::2] << 4)
    out[largest[:, 0] == 0] = 0
    return lattice.first_aborted(found.is_aborted.reshape(scales.shape))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    codes = np.ascontiguousarray(blocks[:, 2:66]).view("<u2")
    scales = lattice.nibbles(blocks[:, 66:])
    levels = grid("IQ2_XS").values[codes & 511]
    lattice.decode(blocks[:, :2], scales, levels, lattice.EVEN_SIGNS[codes >> 9], out)


IQ2_XS = QuantType(
    "IQ2_XS", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,), needs_imatrix=True
)
