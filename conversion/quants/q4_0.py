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
from conversion.quants.thirty_two import half_in, nibbles_in, put_half, put_nibbles, signed_quants


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, quants = signed_quants(blocks, importance, 8)
    put_half(scale, out, 0)
    put_nibbles(quants, out[:, 2:])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.multiply(nibbles_in(blocks[:, 2:]).view(np.int8) - np.int8(8), half_in(blocks, 0), out=out)


Q4_0 = QuantType("Q4_0", 32, 18, quantize_blocks, dequantize_blocks, scale_at=(0,))
