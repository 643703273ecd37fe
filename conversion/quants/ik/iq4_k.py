"""IQ4_K: 256 four-bit numbers of a level in 16 runs; 4.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-3 | a bit per run of 16: whether its levels are the shifted ones |
| 4-7 | the high two bits of the scales, four to a byte, lowest first |
| 8-15 | their low four bits, the even ones low |
| 16-143 | numbers: per 32 elements 16 bytes: l holds l and l + 16 |

value = d * (scale - 32) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq4_k; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    shifted = parts.bits(parts.words(blocks[:, 2:4]), 0, 16)
    scales = parts.nibbles(blocks[:, 8:16]) | (parts.two_bits(blocks[:, 4:8]) << np.uint8(4))
    found = parts.looked_up(levels.FOUR_BITS, shifted, parts.nibbles(blocks[:, 16:], 16))
    parts.put(parts.halves(blocks[:, :2]) * (scales.astype(np.float32) - np.float32(32)), found, out)


IQ4_K = QuantType("IQ4_K", parts.BLOCK_SIZE, 144, None, dequantize_blocks)
