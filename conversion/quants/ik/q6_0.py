"""Q6_0: 32 six-bit numbers with one scale; 6.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-9 | high two bits: byte l holds those of l, l + 16, l + 8, l + 24, lowest first |
| 10-25 | low four bits: byte l holds l and l + 16 |

value = d * (number - 32). (ggml-quants.c of ik_llama.cpp: dequantize_row_q6_0; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import parts


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    high = parts.two_bits(blocks[:, 2:10], 8).reshape(-1, 2, 2, 8).transpose(0, 2, 1, 3).reshape(-1, 32)
    numbers = parts.nibbles(blocks[:, 10:], 16) | (high << np.uint8(4))
    np.multiply(numbers.astype(np.float32) - np.float32(32), parts.halves(blocks[:, :2]), out=out)


Q6_0 = QuantType("Q6_0", 32, 26, None, dequantize_blocks)
