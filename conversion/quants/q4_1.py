"""Q4_1: 32 four-bit numbers, a scale and a minimum; 5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the range of the values / 15 |
| 2-3 | m: float16, the smallest value |
| 4-19 | byte j: element j in the low nibble, element j + 16 in the high one; value = d * nibble + m |

(ggml-quants.c: quantize_row_q4_1_ref, quantize_row_q4_1_impl, dequantize_row_q4_1; bit for bit.) Nibbles are
(x - m) / d + 0.5 cut off, at most 15. With an importance matrix scale and minimum are searched for instead.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.thirty_two import half_in, nibbles_in, put_half, put_nibbles, ranged_quants


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, low, quants = ranged_quants(blocks, importance, 15)
    put_half(scale, out, 0)
    put_half(low, out, 2)
    put_nibbles(quants, out[:, 4:])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.multiply(nibbles_in(blocks[:, 4:]), half_in(blocks, 0), out=out)
    out += half_in(blocks, 2)


Q4_1 = QuantType("Q4_1", 32, 20, quantize_blocks, dequantize_blocks, scale_at=(0, 2))
