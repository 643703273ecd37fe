"""Q4_0: 32 four-bit numbers and one scale; 4.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the value of largest magnitude / -8 (so d may be negative) |
| 2-17 | byte j: element j in the low nibble, element j + 16 in the high one; value = d * (nibble - 8) |

(ggml-quants.c: quantize_row_q4_0_ref, quantize_row_q4_0_impl, dequantize_row_q4_0; bit for bit.) The scale takes its
sign from the *first* element of largest magnitude; nibbles are x / d + 8.5 cut off, at most 15. With an importance
matrix the scale is searched for instead.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.search import search_scales

BLOCK_SIZE, TYPE_SIZE = 32, 18


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, quants = _plain(blocks) if importance is None else _weighted(blocks, importance)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    out[:, 2:] = quants[:, :16] | (quants[:, 16:] << 4)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    for half, nibbles in ((out[:, :16], blocks[:, 2:] & 15), (out[:, 16:], blocks[:, 2:] >> 4)):
        np.multiply(nibbles.view(np.int8) - np.int8(8), scale, out=half)


def _plain(blocks: Floats) -> tuple[Floats, Bytes]:
    first_largest = np.abs(blocks).argmax(axis=1)[:, None]
    # Adding +0 turns -0 into +0: in C the largest starts as +0 and no zero exceeds it.
    largest = np.take_along_axis(blocks, first_largest, axis=1) + np.float32(0)
    scale = largest / np.float32(-8)
    inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    shifted = (blocks * inverse + np.float32(8.5)).astype(np.int32).astype(np.int8)
    return scale, np.minimum(shifted, 15).astype(np.uint8)


def _weighted(blocks: Floats, importance: Importance) -> tuple[Floats, Bytes]:
    weights = importance.weights * np.sqrt(importance.row_power + blocks * blocks)
    scale, quants = search_scales(blocks, 8, weights)
    return scale[:, None], quants


Q4_0 = QuantType("Q4_0", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,))
