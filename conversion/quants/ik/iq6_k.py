"""IQ6_K: 256 six-bit numbers of a level in 16 runs; 6.625 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16 |
| 2-3 | a bit per run of 16: whether its levels are one higher |
| 4-19 | scales: int8, one per run |
| 20-147 | the low four bits of the numbers: per 64 elements 32 bytes: l holds l and l + 32 |
| 148-211 | their high two bits: per 128 elements 32 bytes: l holds those of l, l + 32, l + 64, l + 96, lowest first |

value = d * scale * level, where the level of number q is -127 + q * (6.2568 + q * (-0.11218 + q * 0.0011972)), each
step rounded to float32. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq6_k; bit for bit where the compiler fuses
no multiply with an addition.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import parts

_Q = np.arange(64, dtype=np.float32)
_INNER = -np.float32(0.11218) + _Q * np.float32(0.0011972)
_CUBIC: Floats = (np.float32(-127) + _Q * (np.float32(6.2568) + _Q * _INNER)).astype(np.float32)
LEVELS = np.stack([_CUBIC, _CUBIC + np.float32(1)])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    shifted = parts.bits(parts.words(blocks[:, 2:4]), 0, 16)
    scales = np.ascontiguousarray(blocks[:, 4:20]).view(np.int8).astype(np.float32)
    numbers = parts.nibbles(blocks[:, 20:148], 32) | (parts.two_bits(blocks[:, 148:], 32) << np.uint8(4))
    found = parts.looked_up(LEVELS, shifted, numbers)
    parts.put(parts.halves(blocks[:, :2]) * scales, found, out)


IQ6_K = QuantType("IQ6_K", parts.BLOCK_SIZE, 212, None, dequantize_blocks)
