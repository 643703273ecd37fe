"""The two ways ggml rounds to whole numbers, in float32 from end to end."""

import numpy as np

from conversion.quants.base import Floats

_MAGIC = np.float32(
    12582912.0
)  # 1.5 * 2**23: adding it leaves the whole number in the low bits of the mantissa
_BELOW_HALF = np.float32(0.49999997)  # the largest float32 below a half


def round_half_away(values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """C's roundf as int32: the nearest whole number, halves away from zero. Exact for |value| < 2**22.

    Adding 0.5 would round 0.49999997 up. Adding the float just below a half, then cutting off, is right everywhere: the
    sum of k + 0.5 and it rounds to k + 1, of anything smaller it stays below.
    """
    return (values + np.copysign(_BELOW_HALF, values)).astype(np.int32)


def nearest_int(values: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """ggml's nearest_int: halves to even for |value| < 2**22, and beyond that the very bits ggml gets.

    (ggml-quants.c: add 1.5 * 2**23, keep the low 23 bits, subtract 2**22.)
    """
    bits = (values + _MAGIC).view(np.int32)
    return (bits & 0x007FFFFF) - 0x00400000


def first_equal(values: Floats, keys: Floats, wanted: Floats) -> Floats:
    """The first value of each row whose key equals `wanted`, (n_rows, 1) both: of +0 and -0 the one a C loop meets."""
    first = (keys == wanted).argmax(axis=1)[:, None]
    found: Floats = np.take_along_axis(values, first, axis=1)
    return found
