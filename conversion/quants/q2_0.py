"""Q2_0: 64 two-bit numbers and one scale; 2.25 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the largest magnitude |
| 2-17 | element j in bits 2 * (j % 4) of byte j // 4; value = d * (quant - 1) |

(ggml-quants.c: quantize_row_q2_0_ref, dequantize_row_q2_0; bit for bit.) Quants are x / d rounded, halves away from
zero, plus 1; so 3, which means 2 * d, is never written. An importance matrix changes nothing.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.rounding import round_half_away
from conversion.quants.thirty_two import half_in, inverse_of, put_half

BLOCK_SIZE = 64
_SHIFTS = np.array([0, 2, 4, 6], dtype=np.uint8)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    put_half(scale, out, 0)
    quants = np.clip(round_half_away(blocks * inverse_of(scale)) + 1, 0, 3).astype(np.uint8)
    np.bitwise_or.reduce(quants.reshape(-1, BLOCK_SIZE // 4, 4) << _SHIFTS, axis=2, out=out[:, 2:])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    quants = (blocks[:, 2:, None] >> _SHIFTS) & 3
    np.multiply(quants.reshape(-1, BLOCK_SIZE).view(np.int8) - np.int8(1), half_in(blocks, 0), out=out)


Q2_0 = QuantType(
    "Q2_0", BLOCK_SIZE, 18, quantize_blocks, dequantize_blocks, scale_at=(0,), uses_imatrix=False
)
