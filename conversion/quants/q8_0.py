"""Q8_0: 32 signed bytes and one scale; 8.5 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the largest magnitude / 127 |
| 2-33 | q: int8, value = d * q |

(ggml-quants.c: quantize_row_q8_0_ref, dequantize_row_q8_0; bit for bit.) Rounding is half away from zero, by the
reciprocal of the *unrounded* d. An importance matrix changes nothing.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.rounding import round_half_away

BLOCK_SIZE, TYPE_SIZE = 32, 34


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    out[:, :2] = scale.astype("<f2").view(np.uint8)
    # roundf gives at most 127: amax * (1 / (amax / 127)) is within two roundings of 127. A subnormal scale has an
    # infinite inverse; C then converts infinity to int8 through int32, which keeps the low byte of INT_MIN: zero.
    out[:, 2:] = round_half_away(blocks * inverse).astype(np.int8).view(np.uint8)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    np.multiply(blocks[:, 2:].view(np.int8), scale, out=out)


Q8_0 = QuantType(
    "Q8_0", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,), uses_imatrix=False
)
