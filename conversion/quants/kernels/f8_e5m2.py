"""F8_E5M2 in machine code; see conversion/quants/f8_e5m2.py."""

import numpy as np

from conversion.quants.f8_e5m2 import LAYOUT
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.eight_bit_floats import decoder, encoder

FIRST_TOO_LARGE = 0x47700000
"""As the bits of a float32: 61440 is the first that rounds to infinity."""

_encode, _decode = encoder(LAYOUT, FIRST_TOO_LARGE), decoder(LAYOUT)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    return _encode(rows.reshape(-1), out.reshape(-1))


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    _decode(data.reshape(-1), out.reshape(-1))
