"""IQ2_K: 256 two-bit numbers of a level in 16 runs; 2.375 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-3 | a bit per run of 16: whether its levels are the shifted ones |
| 4-11 | scales: 4 bits per run, the even ones low |
| 12-75 | numbers: per 128 elements 32 bytes: l holds l, l + 32, l + 64, l + 96, lowest first |

value = d * (scale - 8) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq2_k; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    shifted = parts.bits(parts.words(blocks[:, 2:4]), 0, 16)
    scales = parts.nibbles(blocks[:, 4:12]).astype(np.float32) - np.float32(8)
    numbers = parts.two_bits(blocks[:, 12:], 32)
    found = parts.looked_up(levels.TWO_BITS, shifted, numbers)
    parts.put(parts.halves(blocks[:, :2]) * scales, found, out)


IQ2_K = QuantType("IQ2_K", parts.BLOCK_SIZE, 76, None, dequantize_blocks)
