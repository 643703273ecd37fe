"""IQ2_KT: groups of eight become 16 bits of a trellis; 2.125 bits a weight. A row begins with d, a float32.

| bytes of a block | what |
|---|---|
| 0-3 | scales: byte l holds 4 bits of run l and of run l + 4; a run has 32 elements |
| 4-67 | 32 little-endian uint16, one per group |

value = d * level of the scale * value of the trellis. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq2_kt; bit for
bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts, trellis

TYPE_SIZE = 68


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    scales = d * levels.FOUR_BITS[0, parts.nibbles(blocks[:, :4], 4)]
    numbers = parts.words(blocks[:, 4:]).astype(np.uint32)
    parts.put(scales, trellis.values(numbers, 8).reshape(len(blocks), -1), out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ2_KT = QuantType("IQ2_KT", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
