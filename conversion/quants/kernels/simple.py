"""What kernels of the simple types share: rounding, what a block is measured by, and how its quants are packed."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import float_of
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.vectors import (
    bits_of_all,
    bits_of_mask,
    chosen,
    counting,
    first_half,
    first_of,
    floats_of_bits,
    ints_of,
    load_bytes,
    load_floats,
    max_of,
    min_of,
    second_half,
    store_bytes,
)

f32 = np.float32
_BELOW_HALF = np.int32(
    0x3EFFFFFF
)  # the bits of the largest float32 below a half; see rounding.round_half_away
_SIGN, _MAGNITUDE = np.int32(-0x80000000), np.int32(0x7FFFFFFF)


@inner
def away_from_zero(values: Any) -> Any:
    """C's roundf of every element, as ints: halves away from zero."""
    return ints_of(values + floats_of_bits((bits_of_all(values) & _SIGN) | _BELOW_HALF))


@inner
def inverse_of(scale: float) -> float:
    """1 / scale; 0 if the scale is 0, or so small that this is infinite.

    C multiplies by the infinite inverse and converts what comes out to an integer, which x86 makes -2**31. A caller
    adds what that leads to.
    """
    inverse = f32(1) / scale
    return inverse if abs(inverse) <= f32(3.4028235e38) else f32(0)


@inner
def largest_magnitude(x: Any) -> float:
    """The largest magnitude in the vector `x`."""
    return float_of(max_of(bits_of_all(x) & _MAGNITUDE))


@inner
def first_largest(values: np.ndarray, at: int, x: Any) -> float:
    """The first element of largest magnitude of the vector `x`, loaded from values[at]; +0 if all are zero."""
    magnitudes = bits_of_all(x) & _MAGNITUDE
    largest = max_of(magnitudes)
    return values[at + first_of(magnitudes == largest)] if largest != 0 else f32(0)


@inner
def first_smallest(values: np.ndarray, at: int, x: Any) -> float:
    """The first of the smallest elements: which of +0 and -0 it is, is what a C loop would find."""
    return values[at + first_of(x == _float_in_order(min_of(_in_order(x))))]


@inner
def first_greatest(values: np.ndarray, at: int, x: Any) -> float:
    """The first of the largest elements."""
    return values[at + first_of(x == _float_in_order(max_of(_in_order(x))))]


@inner
def _in_order(x: Any) -> Any:
    """Ints that are ordered as the floats are, -0 just below +0."""
    bits = bits_of_all(x)
    return bits ^ ((bits >> 31) & _MAGNITUDE)


@inner
def _float_in_order(bits: int) -> float:
    return float_of(np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF)))


@inner
def at_most(x: Any, most: int) -> Any:
    """The ints of `x`, but none above `most`."""
    return chosen(x > most, (x & 0) | most, x)


@inner
def put_nibbles(data: np.ndarray, at: int, quants: Any) -> None:
    """The low four bits: of the first half of the quants in the low nibbles, of the second half in the high ones."""
    store_bytes(data, at, (first_half(quants) & 15) | ((second_half(quants) & 15) << 4))


@inner
def put_fifth_bits(data: np.ndarray, at: int, quants: Any) -> None:
    """Bit 4 of 32 quants as a little-endian uint32."""
    bits = bits_of_mask((quants & 16) == 16)
    for i in range(4):
        data[at + i] = (bits >> (8 * i)) & 0xFF


@inner
def fifth_bits_at(data: np.ndarray, at: int) -> int:
    """The little-endian uint32 there, as int32."""
    return np.int32(data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24))


@inner
def low_quants(data: np.ndarray, at: int) -> Any:
    """Sixteen quants, the low nibbles of the bytes from `at` on."""
    return load_bytes(data, at, 16) & 15


@inner
def high_quants(data: np.ndarray, at: int) -> Any:
    """Sixteen quants, the high nibbles of the bytes from `at` on."""
    return load_bytes(data, at, 16) >> 4


@inner
def fifth(bits: int, first: int) -> Any:
    """Bit `first` and the fifteen after it, as ints 0 or 16."""
    shifts = counting(16) + first
    return (((shifts & 0) + bits) >> shifts & 1) << 4


@inner
def nearest(values: Any) -> Any:
    """ggml's nearest_int of every element, also where it is of no use (see rounding.nearest_int)."""
    return (bits_of_all(values + f32(12582912.0)) & 0x007FFFFF) - 0x00400000


@inner
def at_least(x: Any, least: int) -> Any:
    """The ints of `x`, but none below `least`."""
    return chosen(x < least, (x & 0) | least, x)


@inner
def signed_quants(values: np.ndarray, at: int, n_max: int) -> Any:
    """The scale of 32 values and their quants, around n_max: see thirty_two.signed_quants."""
    x = load_floats(values, at, 32)
    scale = first_largest(values, at, x) / f32(-n_max)
    inverse = inverse_of(scale)
    # Where the inverse is infinite, C's casts make every quant 0.
    shift = f32(n_max) + f32(0.5) if inverse != 0 or scale == 0 else f32(0)
    return scale, at_most(ints_of(x * inverse + shift), 2 * n_max - 1)


@inner
def ranged_quants(values: np.ndarray, at: int, n_max: int) -> Any:
    """Scale and minimum of 32 values, and their quants: see thirty_two.ranged_quants."""
    x = load_floats(values, at, 32)
    low = first_smallest(values, at, x)
    scale = (first_greatest(values, at, x) - low) / f32(n_max)
    return scale, low, at_most(ints_of((x - low) * inverse_of(scale) + f32(0.5)), n_max)
