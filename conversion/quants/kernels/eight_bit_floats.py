"""What the kernels of F8_E4M3 and F8_E5M2 share; see conversion/quants/eight_bit_floats.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.quants.eight_bit_floats import Layout
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.simple import at_most
from conversion.quants.kernels.vectors import (
    absolute,
    bits_of_all,
    chosen,
    load_floats,
    store_bytes,
)


def encoder(layout: Layout) -> Callable[..., Any]:
    """A function that fills uint8 with the codes of float32, one dimension each."""
    shift, half = layout.shift, (1 << (layout.shift - 1)) - 1
    offset = (127 - layout.bias) << layout.mantissa_bits
    first_normal = (128 - layout.bias) << 23
    power = np.float32(2.0 ** (24 - layout.bias - layout.mantissa_bits))
    power_bits = int(power.view(np.int32))

    @inner
    def codes_of(x: Any) -> Any:
        bits = bits_of_all(x)
        magnitude = bits & 0x7FFFFFFF
        normal = ((magnitude + (((magnitude >> shift) & 1) + half)) >> shift) - offset
        subnormal = bits_of_all(absolute(x) + power) - power_bits
        codes = chosen(magnitude >= first_normal, normal, subnormal)
        return at_most(codes, 0x7F) | ((bits >> 24) & 0x80)

    @inner
    def encode(values: np.ndarray, data: np.ndarray) -> None:
        n_vectors = values.size // 32
        for i in range(n_vectors):
            store_bytes(data, 32 * i, codes_of(load_floats(values, 32 * i, 32)))
        for i in range(32 * n_vectors, values.size):
            store_bytes(data, i, codes_of(load_floats(values, i, 1)))

    return encode


def decoder(layout: Layout) -> Callable[..., Any]:
    """A function that fills float32 with the values of codes, one dimension each."""
    table = layout.table

    @inner
    def decode(data: np.ndarray, values: np.ndarray) -> None:
        for i in range(data.size):
            values[i] = table[data[i]]

    return decode
