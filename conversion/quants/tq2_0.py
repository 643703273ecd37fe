"""TQ2_0: 256 numbers of three values, two bits each, and one scale; 2.0625 bits a weight.

| bytes | what |
|---|---|
| 0-63 | qs: per 128 elements 32 bytes; byte m holds elements m, m + 32, m + 64 and m + 96, lowest bits first |
| 64-65 | d: float16, the largest magnitude; value = d * (quant - 1) |

(ggml-quants.c: quantize_row_tq2_0_ref, dequantize_row_tq2_0; bit for bit.) Quants are x / d rounded, halves away from
zero, plus 1. An importance matrix changes nothing.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.thirty_two import half_in, put_half
from conversion.quants.trits import ternary_quants

BLOCK_SIZE, TYPE_SIZE = 256, 66
_SHIFTS = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale, quants = ternary_quants(blocks)
    shifted = quants.reshape(-1, 2, 4, 32) << _SHIFTS
    out[:, :64] = np.bitwise_or.reduce(shifted, axis=2).reshape(-1, 64)
    put_half(scale, out, 64)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    quants = (blocks[:, :64].reshape(-1, 2, 1, 32) >> _SHIFTS) & 3
    np.multiply(quants.reshape(-1, BLOCK_SIZE).view(np.int8) - np.int8(1), half_in(blocks, 64), out=out)


TQ2_0 = QuantType(
    "TQ2_0", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(64,), uses_imatrix=False
)
