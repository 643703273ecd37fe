"""What the kernels of F8_E4M3 and F8_E5M2 share; see conversion/quants/eight_bit_floats.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.quants.eight_bit_floats import Layout
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.narrowing import narrower
from conversion.quants.kernels.vectors import (
    absolute,
    bits_of_all,
    chosen,
    store_bytes,
)


def encoder(layout: Layout, first_too_large: int) -> Callable[..., Any]:
    """A function that fills uint8 with the codes of float32, one dimension each; it gives 1 if a magnitude has bits
    from `first_too_large` on, and else 0."""
    shift, half = layout.shift, (1 << (layout.shift - 1)) - 1
    offset = (127 - layout.bias) << layout.mantissa_bits
    first_normal = (128 - layout.bias) << 23
    power = np.float32(2.0 ** (24 - layout.bias - layout.mantissa_bits))
    power_bits = int(power.view(np.int32))

    @inner
    def put(data: np.ndarray, i: int, x: Any) -> None:
        bits = bits_of_all(x)
        magnitude = bits & 0x7FFFFFFF
        normal = ((magnitude + (((magnitude >> shift) & 1) + half)) >> shift) - offset
        subnormal = bits_of_all(absolute(x) + power) - power_bits
        codes = chosen(magnitude >= first_normal, normal, subnormal)
        store_bytes(data, i, codes | ((bits >> 24) & 0x80))

    return narrower(put, first_too_large)


def decoder(layout: Layout) -> Callable[..., Any]:
    """A function that fills float32 with the values of codes, one dimension each."""
    table = layout.table

    @inner
    def decode(data: np.ndarray, values: np.ndarray) -> None:
        for i in range(data.size):
            values[i] = table[data[i]]

    return decode
