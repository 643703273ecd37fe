"""The check for NaN and infinity that precedes every quantiser, about as quick as reading the values."""

import numpy as np

from conversion.quants.kernels.bits import bits_of
from conversion.quants.kernels.compiling import kernel

STRIP = 1024


@kernel
def find_not_finite(rows: np.ndarray) -> int:
    """1 + the flat index of the first value that is NaN or infinite; 0 if there is none.

    NaN and infinity are the values whose bits without the sign reach 0x7F800000, so the largest of those bits tells
    about a whole strip without a branch.
    """
    flat = rows.reshape(-1)
    for first in range(0, flat.size, STRIP):
        last = min(first + STRIP, flat.size)
        largest = np.int32(0)
        for i in range(first, last):
            largest = max(largest, np.int32(bits_of(flat[i]) & np.int32(0x7FFFFFFF)))
        if largest >= 0x7F800000:
            for i in range(first, last):
                if np.int32(bits_of(flat[i]) & np.int32(0x7FFFFFFF)) >= 0x7F800000:
                    return i + 1
    return 0
