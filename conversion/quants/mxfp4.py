"""MXFP4: 32 floats of four bits (E2M1) and a scale that is a power of two; 4.25 bits a weight.

| bytes | what |
|---|---|
| 0 | e: the scale is 2**(e - 127), E8M0 of the OCP microscaling format; 255 (NaN there) is refused |
| 1-16 | byte j: element j in the low nibble, element j + 16 in the high one; see four_bit_floats.py |

(ggml-quants.c: quantize_row_mxfp4_ref, dequantize_row_mxfp4; ggml-impl.h: ggml_e8m0_to_fp32_half; bit for bit.)
e is floor(log2(largest magnitude)) + 125, where C rounds the logarithm to float32 first, and kept in one byte: of
subnormal numbers it wraps around, and all codes are 0. An importance matrix changes nothing.
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.four_bit_floats import nearest_codes, values_of
from conversion.quants.thirty_two import nibbles_in, put_nibbles

BLOCK_SIZE, TYPE_SIZE, INVALID = 32, 17, 255


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    logarithm = np.floor(np.log2(largest.astype(np.float64)).astype(np.float32))
    exponents = np.where(largest > 0, logarithm + np.float32(125), np.float32(0)).astype(np.int32)
    out[:, :1] = (exponents & 255).astype(np.uint8)
    put_nibbles(nearest_codes(blocks, half_scale_of(out[:, :1])), out[:, 1:])


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    np.copyto(out, values_of(nibbles_in(blocks[:, 1:]), half_scale_of(blocks[:, :1])))


def half_scale_of(exponents: Bytes) -> Floats:
    """2**(e - 128) as float32, of uint8: subnormal for 0 and 1."""
    wide = exponents.astype(np.uint32)
    bits = np.where(wide < 2, np.uint32(0x00200000) << wide, (wide - np.uint32(1)) << np.uint32(23))
    return bits.astype(np.uint32).view(np.float32)


def is_invalid(blocks: Bytes) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = blocks[:, 0] == INVALID
    return found


MXFP4 = QuantType(
    "MXFP4",
    BLOCK_SIZE,
    TYPE_SIZE,
    quantize_blocks,
    dequantize_blocks,
    is_invalid=is_invalid,
    uses_imatrix=False,
)
