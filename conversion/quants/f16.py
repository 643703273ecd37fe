"""F16: IEEE 754 binary16, little-endian, rounded to nearest, halves to even.

| bytes | what |
|---|---|
| 2 | one float16: sign, 5 bits of exponent, 10 of mantissa |

Magnitudes from 65520 on would become infinity and are refused, as ggml does. numpy's conversion gives ggml's bits for
every number; they differ only in the payload of NaN, which is refused on the way in.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance, QuantType


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    np.copyto(out.view("<f2"), blocks, casting="same_kind")


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.copyto(out, blocks.view("<f2"))


def is_not_finite(blocks: Bytes) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (blocks.view("<u2")[:, 0] & 0x7C00) == 0x7C00
    return found


F16 = QuantType(
    "F16",
    1,
    2,
    quantize_blocks,
    dequantize_blocks,
    is_invalid=is_not_finite,
    uses_imatrix=False,
    kernel_checks=True,
)
