"""The two ways ggml rounds to whole numbers, in float32 from end to end."""

import numpy as np

from conversion.quants.base import Floats

_MAGIC = np.float32(
    12582912.0
)  # 1.5 * 2**23: adding it leaves the whole number in the low bits of the mantissa
_HALF = np.float32(0.5)


def round_half_away(values: Floats) -> Floats:
    """C's roundf: the nearest whole number, halves away from zero. Exact for every finite float32.

    Adding 0.5 first would round 0.49999997 up; so the fraction is compared instead.
    """
    whole = np.trunc(values)
    fraction = np.abs(values - whole)
    return whole + np.copysign((fraction >= _HALF).astype(np.float32), values)


def nearest_int(values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """ggml's nearest_int: halves to even for |value| < 2**22, and beyond that the very bits ggml gets.

    (ggml-quants.c: add 1.5 * 2**23, keep the low 23 bits, subtract 2**22.)
    """
    bits = (values + _MAGIC).view(np.int32)
    return (bits & 0x007FFFFF) - 0x00400000
