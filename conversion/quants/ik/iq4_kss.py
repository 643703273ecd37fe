"""IQ4_KSS: 256 four-bit numbers of a level in 8 runs; 4 bits a weight. A row begins with d, a float32.

A block is 64 little-endian uint16, eight per run of 32 elements. Their lowest bits, the first lowest, are 7 bits of
scale and, lowest of all, whether the levels are the shifted ones. With that bit cleared a word w stands for
w ^ (w >> 1): the 16 bytes so made hold numbers, byte l those of elements l and l + 16.

value = d * (2 * scale - 127) * level. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_iq4_kss; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import levels, parts

TYPE_SIZE = 128
_BITS = np.arange(8, dtype=np.uint16)


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    words = parts.words(blocks)
    lowest = (words & np.uint16(1)).reshape(len(blocks), 8, 8)
    scales = np.bitwise_or.reduce(lowest << _BITS, axis=2)
    cleared = words & np.uint16(0xFFFE)
    data = (cleared ^ (cleared >> np.uint16(1))).astype("<u2").view(np.uint8)
    shifted = (scales & np.uint16(1)).astype(np.intp)
    found = parts.looked_up(levels.FOUR_BITS, shifted, parts.nibbles(data, 16))
    parts.put(d * ((scales & np.uint16(254)).astype(np.float32) - np.float32(127)), found, out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ4_KSS = QuantType("IQ4_KSS", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
