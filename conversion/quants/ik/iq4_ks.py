"""IQ4_KS: 256 four-bit numbers of a level in 8 runs; 4.25 bits a weight. A row begins with d, a float32.

| bytes of a block | what |
|---|---|
| 0-7 | per run of 32 elements: 7 bits of scale, and as the lowest bit whether its levels are the shifted ones |
| 8-135 | numbers: per 32 elements 16 bytes: l holds l and l + 16 |

value = d * (2 * scale - 127) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq4_ks; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts

TYPE_SIZE = 136


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    scales = (blocks[:, :8] & np.uint8(254)).astype(np.float32) - np.float32(127)
    shifted = (blocks[:, :8] & np.uint8(1)).astype(np.intp)
    found = parts.looked_up(levels.FOUR_BITS, shifted, parts.nibbles(blocks[:, 8:], 16))
    parts.put(d * scales, found, out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ4_KS = QuantType("IQ4_KS", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
