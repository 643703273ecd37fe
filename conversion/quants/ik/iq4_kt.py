"""IQ4_KT: groups of four become 15 bits of a trellis; 4 bits a weight. A row begins with d, a float32.

| bytes of a block | what |
|---|---|
| 0-31 | 8 little-endian uint32, one per run of 32 elements: a bit for the offset, 7 of scale, 8 times 3 high bits |
| 32-95 | the low eight bits of 64 groups |
| 96-127 | their next four bits: byte l holds groups l and l + 32 |

value = d * (scale - 64) * value of the trellis, whose offset is 32768 more where the bit is set. (iqk_quantize.cpp of
ik_llama.cpp: dequantize_row_iq4_kt; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import parts, trellis

TYPE_SIZE = 128
_HIGH = np.arange(8, 32, 3, dtype=np.uint32)


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    words = np.ascontiguousarray(blocks[:, :32]).view("<u4").astype(np.uint32)
    high = ((words[:, :, None] >> _HIGH) & np.uint32(7)).reshape(len(blocks), -1)
    middle = parts.nibbles(blocks[:, 96:], 32).astype(np.uint32)
    numbers = blocks[:, 32:96] | (middle << np.uint32(8)) | (high << np.uint32(12))
    offset = np.repeat((words & np.uint32(1)) << np.uint32(15), 8, axis=1) + np.uint32(trellis.OFFSET)
    scales = ((words & np.uint32(255)) >> np.uint32(1)).astype(np.float32) - np.float32(64)
    parts.put(d * scales, trellis.values(numbers, 4, offset).reshape(len(blocks), -1), out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ4_KT = QuantType("IQ4_KT", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
