"""F8_E4M3 in machine code; see conversion/quants/f8_e4m3.py."""

import numpy as np

from conversion.quants.f8_e4m3 import LAYOUT
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.eight_bit_floats import decoder, encoder

FIRST_TOO_LARGE = 0x43E80001
"""As the bits of a float32: 464, which still rounds to 448, is the last that fits."""

_encode, _decode = encoder(LAYOUT, FIRST_TOO_LARGE), decoder(LAYOUT)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    return _encode(rows.reshape(-1), out.reshape(-1))


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    _decode(data.reshape(-1), out.reshape(-1))
