"""Q8_0 in machine code; the layout and what is computed are told in conversion/quants/q8_0.py.

One block at a time: the largest magnitude by integer maximum of the bits, which vectorises where a float maximum, for
the sake of NaN, does not.
"""

import numpy as np

from conversion.quants.kernels.bits import bits_of, float_of, half_at, put_half
from conversion.quants.kernels.compiling import kernel

f32 = np.float32
_BELOW_HALF = f32(0.49999997)  # the largest float32 below a half; see rounding.round_half_away


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    for row in range(rows.shape[0]):
        for block in range(rows.shape[1] // 32):
            x, at = 32 * block, 34 * block
            largest = np.int32(0)
            for i in range(32):
                largest = max(largest, np.int32(bits_of(rows[row, x + i]) & np.int32(0x7FFFFFFF)))
            scale = float_of(largest) / f32(127)
            inverse = f32(1) / scale if scale != 0 else f32(0)
            put_half(out, row, at, scale)
            for i in range(32):
                value = rows[row, x + i] * inverse
                out[row, at + 2 + i] = np.uint8(np.int32(value + np.copysign(_BELOW_HALF, value)))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    for row in range(data.shape[0]):
        for block in range(data.shape[1] // 34):
            at = 34 * block
            scale = half_at(data, row, at)
            for i in range(32):
                out[row, 32 * block + i] = f32(np.int8(data[row, at + 2 + i])) * scale
