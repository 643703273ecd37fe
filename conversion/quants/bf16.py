"""BF16: the upper half of a binary32, little-endian, rounded to nearest, halves to even.

| bytes | what |
|---|---|
| 2 | sign, 8 bits of exponent, 7 of mantissa |

(ggml-impl.h: ggml_compute_fp32_to_bf16. Subnormal numbers keep their value.) A magnitude that rounds up to infinity
is refused, as ggml does.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantError, QuantType


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    bits = blocks.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    halves = out.view("<u2")
    np.copyto(halves, rounded, casting="same_kind")
    if ((halves & 0x7F80) == 0x7F80).any():
        raise QuantError(
            "scale-overflow",
            "a value rounds up to infinity in BF16, which ggml refuses; keep this tensor as F32.",
        )


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.left_shift(blocks.view("<u2"), np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)


BF16 = QuantType("BF16", 1, 2, quantize_blocks, dequantize_blocks)
