"""IQ4_NL: 32 four-bit numbers of unevenly spaced levels and one scale; 4.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-17 | byte j: element j in the low nibble, element j + 16 in the high one; value = d * LEVELS[nibble] |

(ggml-quants.c: quantize_iq4_nl, dequantize_row_iq4_nl; bit for bit.) The numbers are chosen by the scale before it is
rounded to float16.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.iq4 import inverse_or_zero, nearest, pack, search_scales, unpack, weights_of

BLOCK_SIZE, TYPE_SIZE = 32, 18


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scales = search_scales(blocks, weights_of(blocks, importance))[:, None]
    out[:, :2] = scales.astype("<f2").view(np.uint8)
    out[:, 2:] = pack(nearest(inverse_or_zero(scales) * blocks).astype(np.uint8))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    np.multiply(scales, unpack(blocks[:, 2:]), out=out)


IQ4_NL = QuantType("IQ4_NL", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,))
