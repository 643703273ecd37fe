"""The check for NaN and infinity that precedes every quantiser, about as quick as reading the values."""

import numpy as np

from conversion.quants.kernels.bits import bits_of
from conversion.quants.kernels.compiling import inner, kernel

STRIP = 1024
_MAGNITUDE, _INFINITY = np.int32(0x7FFFFFFF), np.int32(0x7F800000)


@kernel
def find_not_finite(rows: np.ndarray) -> int:
    """1 + the flat index of the first value that is NaN or infinite; 0 if there is none.

    NaN and infinity are the values whose bits without the sign reach those of infinity, so the largest of these bits
    tells about a whole strip without a branch. The strip's fixed length is what lets LLVM use wide registers: with a
    variable one the loop is ten times slower.
    """
    flat = rows.reshape(-1)
    n_strips = flat.size // STRIP
    for strip in range(n_strips):
        largest = np.int32(0)
        for i in range(STRIP):
            largest = max(largest, np.int32(bits_of(flat[strip * STRIP + i]) & _MAGNITUDE))
        if largest >= _INFINITY:
            return _first_not_finite(flat, strip * STRIP)
    return _first_not_finite(flat, n_strips * STRIP)


@inner
def _first_not_finite(flat: np.ndarray, start: int) -> int:
    for i in range(start, flat.size):
        if np.int32(bits_of(flat[i]) & _MAGNITUDE) >= _INFINITY:
            return i + 1
    return 0
