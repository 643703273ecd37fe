"""IQ1_KT: groups of eight become 13 bits of a trellis; 1.75 bits a weight. A row begins with d, a float32.

| bytes of a block | what |
|---|---|
| 0-7 | per run of 32 elements: 4 bits of scale, and above them the highest bit of each of four groups |
| 8-39 | the low eight bits of 32 groups |
| 40-55 | their next four bits: byte l holds groups l and l + 16 |

value = d * level of the scale * value of the trellis. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq1_kt; bit for
bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts, trellis

TYPE_SIZE = 56
_HIGHEST = np.arange(4, 8, dtype=np.uint8)


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    highest = ((blocks[:, :8, None] >> _HIGHEST) & np.uint8(1)).reshape(len(blocks), -1).astype(np.uint32)
    middle = parts.nibbles(blocks[:, 40:], 16).astype(np.uint32)
    numbers = blocks[:, 8:40] | (middle << np.uint32(8)) | (highest << np.uint32(12))
    scales = d * levels.FOUR_BITS[0, blocks[:, :8] & np.uint8(15)]
    parts.put(scales, trellis.values(numbers, 8).reshape(len(blocks), -1), out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ1_KT = QuantType("IQ1_KT", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
