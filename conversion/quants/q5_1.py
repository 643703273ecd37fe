"""Q5_1: 32 five-bit numbers, a scale and a minimum; 6 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the range of the values / 31 |
| 2-3 | m: float16, the smallest value |
| 4-7 | qh: little-endian uint32, the fifth bit of element j in bit j |
| 8-23 | byte j: low bits of element j in the low nibble, of j + 16 in the high one; value = d * quant + m |

(ggml-quants.c: quantize_row_q5_1_ref, quantize_row_q5_1_impl, dequantize_row_q5_1; bit for bit.) Quants are
(x - m) / d + 0.5 cut off. With an importance matrix scale and minimum are searched for instead.
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
    ranged_quants,
)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, low, quants = ranged_quants(blocks, importance, 31)
    put_half(scale, out, 0)
    put_half(low, out, 2)
    put_fifth_bits(quants, out[:, 4:8])
    put_nibbles(quants, out[:, 8:])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.multiply(nibbles_in(blocks[:, 8:]) | fifth_bits_in(blocks[:, 4:8]), half_in(blocks, 0), out=out)
    out += half_in(blocks, 2)


Q5_1 = QuantType("Q5_1", 32, 24, quantize_blocks, dequantize_blocks, scale_at=(0, 2))
