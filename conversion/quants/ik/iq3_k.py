"""IQ3_K: 256 three-bit numbers of a level in 16 runs; 3.4375 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-3 | a bit per run of 16: whether its levels are the shifted ones |
| 4-5 | a bit per run: whether its scale is negative |
| 6-13 | scales: 4 bits per run, the even ones low |
| 14-77 | the low two bits of the numbers: per 128 elements 32 bytes: l holds l, l + 32, l + 64, l + 96, lowest first |
| 78-109 | their high bits: bit b of byte l is of element 32 * b + l |

value = d * +-(2 * scale + 1) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq3_k; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    shifted, negative = (parts.bits(parts.words(blocks[:, at : at + 2]), 0, 16) for at in (2, 4))
    scales = (2 * parts.nibbles(blocks[:, 6:14]).astype(np.int32) + 1) * (1 - 2 * negative)
    numbers = parts.two_bits(blocks[:, 14:78], 32) | (parts.bit_planes(blocks[:, 78:], 32) << np.uint8(2))
    found = parts.looked_up(levels.THREE_BITS, shifted, numbers)
    parts.put(parts.halves(blocks[:, :2]) * scales.astype(np.float32), found, out)


IQ3_K = QuantType("IQ3_K", parts.BLOCK_SIZE, 110, None, dequantize_blocks)
