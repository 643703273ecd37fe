"""F8_E4M3: floats of eight bits with four of exponent, in safetensors' spelling; no infinity.

| bytes | what |
|---|---|
| 1 | sign, 4 bits of exponent (bias 7), 3 of mantissa; 0x7F and 0xFF are NaN, the largest number is 448 |

(OCP 8-bit floating point: E4M3; float8_e4m3fn elsewhere.) Rounded to nearest, halves to even; a magnitude that rounds
beyond 448 is refused, as NaN is. Not a type of ggml's: checkpoints have it, mostly with scales beside it.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.eight_bit_floats import Layout, encode, is_invalid

LAYOUT = Layout(mantissa_bits=3, bias=7, first_invalid=0x7F)
_TABLE = LAYOUT.table


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    encode(blocks, LAYOUT, out)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.take(_TABLE, blocks, out=out)


def is_no_number(blocks: Bytes) -> npt.NDArray[np.bool_]:
    return is_invalid(blocks[:, 0], LAYOUT)


F8_E4M3 = QuantType(
    "F8_E4M3",
    1,
    1,
    quantize_blocks,
    dequantize_blocks,
    is_invalid=is_no_number,
    uses_imatrix=False,
    kernel_checks=True,
)
