"""MXFP4 in machine code; layout and arithmetic are told in conversion/quants/mxfp4.py."""

import numpy as np

from conversion.quants.kernels.bits import bits_of, float_of
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.four_bit_floats import nearest_codes, values_of
from conversion.quants.kernels.simple import high_quants, largest_magnitude, low_quants, put_nibbles
from conversion.quants.kernels.vectors import load_floats, store_floats

f32 = np.float32
TYPE_SIZE, LOWEST = 17, -149


def _mantissas_that_round_up() -> np.ndarray:
    """For each whole t from -149 on: the first mantissa from which the logarithm, rounded to float32, is t already
    just below 2**t."""
    whole, below = np.arange(LOWEST, 129), np.arange(1, 128)
    exact = whole[:, None] + np.log1p(-below * 2.0**-24) / np.log(2)
    n_rounding = (exact.astype(np.float32) == whole[:, None]).sum(axis=1)
    return ((1 << 23) - n_rounding).astype(np.int32)


ROUNDS_UP_FROM = _mantissas_that_round_up()


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    for block in range(values.size // 32):
        x, at = load_floats(values, 32 * block, 32), TYPE_SIZE * block
        exponent = _exponent_for(largest_magnitude(x))
        data[at] = exponent
        put_nibbles(data, at + 1, nearest_codes(x, _half_scale_of(exponent)))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // 32):
        at = TYPE_SIZE * block
        half_scale = _half_scale_of(np.int32(blocks[at]))
        store_floats(values, 32 * block, values_of(low_quants(blocks, at + 1), half_scale))
        store_floats(values, 32 * block + 16, values_of(high_quants(blocks, at + 1), half_scale))


@inner
def _exponent_for(largest: float) -> int:
    """floor(log2(largest)) + 125 with the logarithm rounded to float32 first, in one byte; 0 for 0."""
    if largest == 0:
        return np.int32(0)
    bits, offset = bits_of(largest), 0
    if bits < 0x00800000:  # Subnormal: a power of two makes it normal and changes nothing else.
        bits, offset = bits_of(largest * f32(2.0**24)), -24
    floor = (bits >> 23) - 127 + offset
    if bits & 0x007FFFFF >= ROUNDS_UP_FROM[floor + 1 - LOWEST]:
        floor += 1
    return np.int32((floor + 125) & 255)


@inner
def _half_scale_of(exponent: int) -> float:
    return float_of(np.int32((exponent - 1) << 23 if exponent > 1 else 0x00200000 << exponent))
