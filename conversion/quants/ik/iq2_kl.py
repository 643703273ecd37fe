"""IQ2_KL: 128 five-bit numbers, each of a pair of levels; 2.6875 bits a weight. A row begins with d, a float16.

| bytes of a block | what |
|---|---|
| 0-1 | the high two bits of the scales of 8 runs (32 elements), lowest first |
| 2-5 | their low four bits: byte l holds runs l and l + 4 |
| 6-69 | the low four bits of the numbers: per 64 elements 16 bytes, l holds pair l and pair l + 16 |
| 70-85 | their high bits: bit r of byte l is of pair l of run r |

value = d * (scale - 32) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq2_kl; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts

TYPE_SIZE = 86
_HIGH = np.arange(0, 16, 2, dtype=np.uint16)


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    high = (parts.words(blocks[:, :2]) >> _HIGH) & np.uint16(3)
    scales = parts.nibbles(blocks[:, 2:6], 4) | (high << np.uint16(4))
    numbers = parts.nibbles(blocks[:, 6:70], 16) | (parts.bit_planes(blocks[:, 70:], 16) << np.uint8(4))
    found = levels.PAIRS[numbers].reshape(len(blocks), -1)
    parts.put(d * (scales.astype(np.float32) - np.float32(32)), found, out)


dequantize_rows = parts.with_row_scale(_decode, "<f2", TYPE_SIZE)
IQ2_KL = QuantType("IQ2_KL", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=2)
