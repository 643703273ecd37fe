"""IQ5_K: 256 five-bit numbers of a level in 16 runs; 5.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-3 | a bit per run of 16: whether its levels are the shifted ones |
| 4-7 | the high two bits of the scales, four to a byte, lowest first |
| 8-15 | their low four bits, the even ones low |
| 16-143 | the low four bits of the numbers: per 64 elements 32 bytes: l holds l and l + 32 |
| 144-175 | their high bits: bit b of byte l is of element 32 * b + l |

value = d * (scale - 32) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq5_k; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    shifted = parts.bits(parts.words(blocks[:, 2:4]), 0, 16)
    scales = parts.nibbles(blocks[:, 8:16]) | (parts.two_bits(blocks[:, 4:8]) << np.uint8(4))
    numbers = parts.nibbles(blocks[:, 16:144], 32) | (parts.bit_planes(blocks[:, 144:], 32) << np.uint8(4))
    found = parts.looked_up(levels.FIVE_BITS, shifted, numbers)
    parts.put(parts.halves(blocks[:, :2]) * (scales.astype(np.float32) - np.float32(32)), found, out)


IQ5_K = QuantType("IQ5_K", parts.BLOCK_SIZE, 176, None, dequantize_blocks)
