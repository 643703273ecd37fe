"""What the kernels of MXFP4 and NVFP4 share; see conversion/quants/four_bit_floats.py."""

from typing import Any

from conversion.quants.four_bit_floats import DOUBLED
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.vectors import absolute, bits_of_all, chosen, floats_of


@inner
def nearest_codes(x: Any, half_scale: float) -> Any:
    """The code of the nearest value times `half_scale`, of every element; of two as near, the first."""
    bits = bits_of_all(x)
    magnitude = best = absolute(x)
    code, sign = bits & 0, (bits >> 28) & 8
    for k in range(1, 8):
        error = absolute(magnitude - DOUBLED[k] * half_scale)
        code = chosen(error < best, sign | k, code)
        best = chosen(error < best, error, best)
    return code


@inner
def values_of(codes: Any, half_scale: float) -> Any:
    """The values that the codes, 0 ... 15, stand for."""
    low = codes & 7
    doubled = chosen(low > 4, chosen(low == 7, low + 5, low + low - 4), low)
    return floats_of(chosen(codes > 7, (doubled & 0) - doubled, doubled)) * half_scale
