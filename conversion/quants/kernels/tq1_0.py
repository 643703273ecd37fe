"""TQ1_0 in machine code; layout and arithmetic are told in conversion/quants/tq1_0.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.simple import away_from_zero
from conversion.quants.kernels.trits import BLOCK_SIZE, scale_and_inverse
from conversion.quants.kernels.vectors import floats_of, load_bytes, load_floats, store_bytes, store_floats

TYPE_SIZE = 54


def _part(at: int, first: int, n_bytes: int, n_digits: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Packing and unpacking of one of the three parts of a block (tq1_0.PARTS)."""

    @inner
    def pack(values: np.ndarray, x: int, inverse: float, data: np.ndarray, start: int) -> None:
        number = away_from_zero(load_floats(values, x + first, n_bytes) * inverse) + 1
        for digit in range(1, n_digits):
            value = load_floats(values, x + first + digit * n_bytes, n_bytes)
            number = number * 3 + (away_from_zero(value * inverse) + 1)
        for _ in range(n_digits, 5):
            number = number * 3
        # ceil(number * 256 / 243): for what is below 4096, * 2158 >> 19 divides by 243.
        store_bytes(data, start + at, number + (((number * 13 + 242) * 2158) >> 19))

    @inner
    def unpack(data: np.ndarray, start: int, scale: float, values: np.ndarray, x: int) -> None:
        shifted = load_bytes(data, start + at, n_bytes)
        for digit in range(n_digits):
            quants = (shifted * 3) >> 8
            store_floats(values, x + first + digit * n_bytes, floats_of(quants - 1) * scale)
            shifted = (shifted * 3) & 0xFF

    return pack, unpack


_pack_first, _unpack_first = _part(0, 0, 32, 5)
_pack_second, _unpack_second = _part(32, 160, 16, 5)
_pack_third, _unpack_third = _part(48, 240, 4, 4)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        x, at = BLOCK_SIZE * block, TYPE_SIZE * block
        scale, inverse = scale_and_inverse(values, x)
        _pack_first(values, x, inverse, data, at)
        _pack_second(values, x, inverse, data, at)
        _pack_third(values, x, inverse, data, at)
        set_half(data, at + 52, scale)
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        x, at = BLOCK_SIZE * block, TYPE_SIZE * block
        scale = get_half(blocks, at + 52)
        _unpack_first(blocks, at, scale, values, x)
        _unpack_second(blocks, at, scale, values, x)
        _unpack_third(blocks, at, scale, values, x)
