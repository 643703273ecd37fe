"""F8_E4M3 in machine code; see conversion/quants/f8_e4m3.py."""

import numpy as np

from conversion.quants.f8_e4m3 import LAYOUT
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.eight_bit_floats import decoder, encoder

_encode, _decode = encoder(LAYOUT), decoder(LAYOUT)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    _encode(rows.reshape(-1), out.reshape(-1))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    _decode(data.reshape(-1), out.reshape(-1))
