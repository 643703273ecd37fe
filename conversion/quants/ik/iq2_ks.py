"""IQ2_KS: 256 two-bit numbers of a level in 8 runs; 2.1875 bits a weight. A row begins with d, a float16.

| bytes of a block | what |
|---|---|
| 0-1 | bit r: the levels of run r (32 elements) are the shifted ones; bit 8 + r: the high bit of its scale |
| 2-5 | the low four bits of the scales, the even ones low |
| 6-69 | numbers: per 128 elements 32 bytes: l holds l, l + 32, l + 64, l + 96, lowest first |

value = d * (scale - 16) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq2_ks; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts

TYPE_SIZE = 70


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    extra = parts.words(blocks[:, :2])
    scales = parts.nibbles(blocks[:, 2:6]) | (parts.bits(extra, 8, 8) << 4)
    found = parts.looked_up(levels.TWO_BITS, parts.bits(extra, 0, 8), parts.two_bits(blocks[:, 6:], 32))
    parts.put(d * (scales.astype(np.float32) - np.float32(16)), found, out)


dequantize_rows = parts.with_row_scale(_decode, "<f2", TYPE_SIZE)
IQ2_KS = QuantType("IQ2_KS", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=2)
