"""F32: IEEE 754 binary32, little-endian, as it is.

| bytes | what |
|---|---|
| 4 | one float32 |
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType


def quantize_blocks(blocks: Floats, importance: Importance | None = None) -> Bytes:
    return np.ascontiguousarray(blocks, dtype="<f4").view(np.uint8).reshape(-1, 4)


def dequantize_blocks(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32, copy=False)


F32 = QuantType("F32", 1, 4, quantize_blocks, dequantize_blocks)
