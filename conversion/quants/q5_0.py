"""Q5_0: 32 five-bit numbers and one scale; 5.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the value of largest magnitude / -16 (so d may be negative) |
| 2-5 | qh: little-endian uint32, the fifth bit of element j in bit j |
| 6-21 | byte j: low bits of element j in the low nibble, of j + 16 in the high one; value = d * (quant - 16) |

(ggml-quants.c: quantize_row_q5_0_ref, quantize_row_q5_0_impl, dequantize_row_q5_0; bit for bit.) The scale takes its
sign from the *first* element of largest magnitude; quants are x / d + 16.5 cut off, at most 31. With an importance
matrix the scale is searched for instead.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.thirty_two import (
    fifth_bits_in,
    half_in,
    nibbles_in,
    put_fifth_bits,
    put_half,
    put_nibbles,
    signed_quants,
)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, quants = signed_quants(blocks, importance, 16)
    put_half(scale, out, 0)
    put_fifth_bits(quants, out[:, 2:6])
    put_nibbles(quants, out[:, 6:])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    quants = nibbles_in(blocks[:, 6:]) | fifth_bits_in(blocks[:, 2:6])
    np.multiply(quants.view(np.int8) - np.int8(16), half_in(blocks, 0), out=out)


Q5_0 = QuantType("Q5_0", 32, 22, quantize_blocks, dequantize_blocks, scale_at=(0,))
