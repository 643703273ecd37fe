"""IQ3_KS: 256 three-bit numbers of a level in 8 runs; 3.1875 bits a weight. A row begins with d, a float16.

| bytes of a block | what |
|---|---|
| 0-1 | bit r: the high bit of the scale of run r (32 elements); bit 8 + r: whether its levels are the shifted ones |
| 2-5 | the low four bits of the scales: byte l holds runs l and l + 4 |
| 6-69 | the low two bits of the numbers: per 128 elements 32 bytes: l holds l, l + 32, l + 64, l + 96, lowest first |
| 70-101 | their high bits: bit b of byte l is of element 32 * b + l |

value = d * (scale - 16) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq3_ks; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts

TYPE_SIZE = 102


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    extra = parts.words(blocks[:, :2])
    scales = parts.nibbles(blocks[:, 2:6], 4) | (parts.bits(extra, 0, 8) << 4)
    numbers = parts.two_bits(blocks[:, 6:70], 32) | (parts.bit_planes(blocks[:, 70:], 32) << np.uint8(2))
    found = parts.looked_up(levels.THREE_BITS, parts.bits(extra, 8, 8), numbers)
    parts.put(d * (scales.astype(np.float32) - np.float32(16)), found, out)


dequantize_rows = parts.with_row_scale(_decode, "<f2", TYPE_SIZE)
IQ3_KS = QuantType("IQ3_KS", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=2)
