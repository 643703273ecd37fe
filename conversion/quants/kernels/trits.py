"""What the kernels of TQ1_0 and TQ2_0 share; see conversion/quants/trits.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import float_of
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.simple import inverse_of
from conversion.quants.kernels.vectors import bits_of_all, chosen, load_floats, max_of

BLOCK_SIZE = 256


@inner
def scale_and_inverse(values: np.ndarray, at: int) -> Any:
    """The largest magnitude of 256 values, and 1 / it; 0 where C's infinite inverse leads to the quant 1 as well."""
    largest = bits_of_all(load_floats(values, at, 32)) & 0x7FFFFFFF
    for part in range(1, BLOCK_SIZE // 32):
        magnitudes = bits_of_all(load_floats(values, at + 32 * part, 32)) & 0x7FFFFFFF
        largest = chosen(magnitudes > largest, magnitudes, largest)
    scale = float_of(max_of(largest))
    return scale, inverse_of(scale)
