"""IQ5_KS: 256 five-bit numbers of a level in 8 runs; 5.25 bits a weight. A row begins with d, a float32.

| bytes of a block | what |
|---|---|
| 0-7 | per run of 32 elements: 7 bits of scale, and as the lowest bit whether its levels are the shifted ones |
| 8-135 | the low four bits of the numbers: per 64 elements 32 bytes: l holds l and l + 32 |
| 136-167 | their high bits: bit b of byte l is of element 32 * b + l |

value = d * (2 * scale - 127) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq5_ks; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts

TYPE_SIZE = 168


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    scales = (blocks[:, :8] & np.uint8(254)).astype(np.float32) - np.float32(127)
    shifted = (blocks[:, :8] & np.uint8(1)).astype(np.intp)
    numbers = parts.nibbles(blocks[:, 8:136], 32) | (parts.bit_planes(blocks[:, 136:], 32) << np.uint8(4))
    parts.put(d * scales, parts.looked_up(levels.FIVE_BITS, shifted, numbers), out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ5_KS = QuantType("IQ5_KS", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
