"""F8_E5M2: floats of eight bits with five of exponent, in safetensors' spelling.

| bytes | what |
|---|---|
| 1 | sign, 5 bits of exponent (bias 15), 2 of mantissa: the upper half of a float16; the largest number is 57344 |

(OCP 8-bit floating point: E5M2.) Rounded to nearest, halves to even; a magnitude that rounds beyond 57344 is refused,
as infinity and NaN are. Not a type of ggml's: checkpoints have it, mostly with scales beside it.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.eight_bit_floats import Layout, encode, is_invalid

LAYOUT = Layout(mantissa_bits=2, bias=15, first_invalid=0x7C)
_TABLE = LAYOUT.table


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    encode(blocks, LAYOUT, out)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.take(_TABLE, blocks, out=out)


def is_no_number(blocks: Bytes) -> npt.NDArray[np.bool_]:
    return is_invalid(blocks[:, 0], LAYOUT)


F8_E5M2 = QuantType(
    "F8_E5M2",
    1,
    1,
    quantize_blocks,
    dequantize_blocks,
    is_invalid=is_no_number,
    uses_imatrix=False,
    kernel_checks=True,
)
