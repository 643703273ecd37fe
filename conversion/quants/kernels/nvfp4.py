"""NVFP4 in machine code; layout and arithmetic are told in conversion/quants/nvfp4.py."""

import numpy as np

from conversion.quants.kernels.bits import bits_of, float_of
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.four_bit_floats import nearest_codes, values_of
from conversion.quants.kernels.simple import largest_magnitude, put_nibbles
from conversion.quants.kernels.vectors import load_bytes, load_floats, store_floats

f32 = np.float32
BLOCK_SIZE, TYPE_SIZE = 64, 36


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        for group in range(4):
            x = load_floats(values, BLOCK_SIZE * block + 16 * group, 16)
            scale = _scale_code(largest_magnitude(x) / f32(6))
            data[at + group] = scale
            put_nibbles(data, at + 4 + 8 * group, nearest_codes(x, _half_scale_of(scale)))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        for group in range(4):
            packed, x = load_bytes(blocks, at + 4 + 8 * group, 8), BLOCK_SIZE * block + 16 * group
            half_scale = _half_scale_of(np.int32(blocks[at + group]))
            store_floats(values, x, values_of(packed & 15, half_scale))
            store_floats(values, x + 8, values_of(packed >> 4, half_scale))


@inner
def _scale_code(value: float) -> int:
    """UE4M3; see nvfp4.scale_codes."""
    if value > f32(448):
        return np.int32(0x7E)
    bits = bits_of(value)
    if bits >> 23 > 120:
        code = (bits >> 20) + ((bits >> 19) & 1) - (120 << 3)
        return np.int32(code if code < 0x78 else 0x7E)
    return np.int32(min(np.int32(value * f32(512) + f32(0.5)), 7))


@inner
def _half_scale_of(code: int) -> float:
    exponent, mantissa = (code >> 3) & 15, code & 7
    if code in (0, 0x7F):
        return f32(0)
    if exponent == 0:
        return f32(mantissa) * f32(2.0**-10)
    return float_of(np.int32(((exponent + 119) << 23) | (mantissa << 20)))
