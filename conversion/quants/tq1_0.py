"""TQ1_0: 256 numbers of three values, five to a byte, and one scale; 1.6875 bits a weight.

| bytes | what |
|---|---|
| 0-31 | byte m holds elements m, m + 32, … m + 128 |
| 32-47 | byte m holds elements 160 + m, 176 + m, … 224 + m |
| 48-51 | byte m holds elements 240 + m, 244 + m, 248 + m, 252 + m |
| 52-53 | d: float16, the largest magnitude; value = d * (quant - 1) |

A byte is ceil(n * 256 / 243) of a number n of five digits to base 3, the first element the highest digit (and the last
digit 0 where there are four). So digit k is read by arithmetic in one byte: (byte * 3**k mod 256) * 3 / 256, cut off.
(ggml-quants.c: quantize_row_tq1_0_ref, dequantize_row_tq1_0; bit for bit.) Quants are x / d rounded, halves away from
zero, plus 1. An importance matrix changes nothing.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.thirty_two import half_in, put_half
from conversion.quants.trits import ternary_quants

BLOCK_SIZE, TYPE_SIZE = 256, 54
_POWERS = np.array([1, 3, 9, 27, 81], dtype=np.uint8)
PARTS = ((0, 0, 32, 5), (32, 160, 16, 5), (48, 240, 4, 4))
"""First byte, first element, bytes, digits in each."""


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, quants = ternary_quants(blocks)
    for at, first, n_bytes, n_digits in PARTS:
        digits = quants[:, first : first + n_digits * n_bytes].reshape(-1, n_digits, n_bytes)
        places = _POWERS[4::-1][:n_digits].reshape(1, -1, 1).astype(np.uint16)
        number = (digits * places).sum(axis=1, dtype=np.uint16)
        # The number is kept in a byte before it is multiplied; 242 is the most it can be.
        out[:, at : at + n_bytes] = (number * 256 + 242) // 243
    put_half(scale, out, 52)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    scale = half_in(blocks, 52)
    for at, first, n_bytes, n_digits in PARTS:
        shifted = blocks[:, None, at : at + n_bytes] * _POWERS[:n_digits].reshape(1, -1, 1)
        digits = ((shifted.astype(np.uint16) * 3) >> 8).reshape(-1, n_digits * n_bytes)
        np.multiply(
            digits.astype(np.int8) - np.int8(1), scale, out=out[:, first : first + n_digits * n_bytes]
        )


TQ1_0 = QuantType(
    "TQ1_0", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(52,), uses_imatrix=False
)
