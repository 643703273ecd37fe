"""Q1_0: 128 signs and one scale; 1.125 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the mean magnitude |
| 2-17 | element j in bit j % 8 of byte j // 8: set for x >= 0, which -0 is; value = d or -d |

(ggml-quants.c: quantize_row_q1_0_ref, dequantize_row_q1_0; bit for bit.) The magnitudes are added from left to right.
An importance matrix changes nothing.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.thirty_two import half_in, put_half

BLOCK_SIZE = 128


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    # accumulate adds strictly from left to right, as the C loop does; sum() would add in pairs.
    sums: Floats = np.add.accumulate(np.abs(blocks), axis=1)[:, -1:]
    put_half(sums / np.float32(BLOCK_SIZE), out, 0)
    out[:, 2:] = np.packbits(blocks >= 0, axis=1, bitorder="little")


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    scale = half_in(blocks, 0)
    bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype(bool)
    np.copyto(out, np.where(bits, scale, -scale))


Q1_0 = QuantType(
    "Q1_0", BLOCK_SIZE, 18, quantize_blocks, dequantize_blocks, scale_at=(0,), uses_imatrix=False
)
