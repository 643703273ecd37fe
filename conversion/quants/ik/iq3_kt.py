"""IQ3_KT: groups of eight become 16 bits of a trellis and eight signs; 3.125 bits a weight.

A row begins with d, a float32.

| bytes of a block | what |
|---|---|
| 0-3 | scales: byte l holds 4 bits of run l and of run l + 4; a run has 32 elements |
| 4-67 | 32 little-endian uint16, one per group |
| 68-99 | signs: bit r of byte l is of element l of run r |

value = d * scale * magnitude of the trellis, negative where its sign is set. (iqk_quantize.cpp of ik_llama.cpp:
dequantize_row_iq3_kt; bit for bit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import parts, trellis

TYPE_SIZE = 100


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    scales = d * parts.nibbles(blocks[:, :4], 4).astype(np.float32)
    magnitudes = np.abs(trellis.values(parts.words(blocks[:, 4:68]).astype(np.uint32), 8))
    parts.put(scales, magnitudes.reshape(len(blocks), -1), out)
    np.negative(out, out=out, where=parts.bit_planes(blocks[:, 68:], 32).astype(np.bool_))


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE)
IQ3_KT = QuantType("IQ3_KT", parts.BLOCK_SIZE, TYPE_SIZE, None, dequantize_rows, row_header=4)
