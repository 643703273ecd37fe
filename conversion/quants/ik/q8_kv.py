"""Q8_KV: bytes with one scale for a row; 8 bits a weight. A row begins with d, a float32, and the sum of its numbers.

value = d * int8. (iqk_quantize.cpp of ik_llama.cpp: dequantize_row_q8_KV; bit for bit. Its block of 32 is only a unit.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, QuantType
from conversion.quants.ik import parts

TYPE_SIZE = 32


def _decode(blocks: Bytes, d: Floats, out: Floats) -> None:
    np.multiply(blocks.view(np.int8).astype(np.float32), d, out=out)


dequantize_rows = parts.with_row_scale(_decode, "<f4", TYPE_SIZE, header=8)
Q8_KV = QuantType("Q8_KV", 32, TYPE_SIZE, None, dequantize_rows, row_header=8)
