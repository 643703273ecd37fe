"""BF16: the upper half of a binary32, little-endian, rounded to nearest, halves to even.

| bytes | what |
|---|---|
| 2 | sign, 8 bits of exponent, 7 of mantissa |

(ggml-impl.h: ggml_compute_fp32_to_bf16. Subnormal numbers keep their value.) A magnitude that rounds up to infinity
is refused, as ggml does.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance, QuantType


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    bits = blocks.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    np.copyto(out.view("<u2"), rounded, casting="same_kind")


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.left_shift(blocks.view("<u2"), np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)


def is_not_finite(blocks: Bytes) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (blocks.view("<u2")[:, 0] & 0x7F80) == 0x7F80
    return found


BF16 = QuantType(
    "BF16",
    1,
    2,
    quantize_blocks,
    dequantize_blocks,
    is_invalid=is_not_finite,
    uses_imatrix=False,
    kernel_checks=True,
)
