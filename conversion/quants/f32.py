"""F32: IEEE 754 binary32, little-endian, as it is.

| bytes | what |
|---|---|
| 4 | one float32 |
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    np.copyto(out.view("<f4"), blocks)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.copyto(out, blocks.view("<f4"))


F32 = QuantType("F32", 1, 4, quantize_blocks, dequantize_blocks, uses_imatrix=False)
