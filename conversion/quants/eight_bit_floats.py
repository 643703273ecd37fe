"""What F8_E4M3 and F8_E5M2 share: floats of eight bits, rounded to nearest, halves to even."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Floats


@dataclass(frozen=True)
class Layout:
    """Mantissa bits, the bias of the exponent, and the first code, without its sign, that is no number."""

    mantissa_bits: int
    bias: int
    first_invalid: int

    @property
    def shift(self) -> int:
        """How far the mantissa lies above float32's lowest bit."""
        return 23 - self.mantissa_bits

    @property
    def table(self) -> Floats:
        """float32 of every code; infinity and NaN where IEEE 754 has them in E5M2, NaN alone in E4M3."""
        codes = np.arange(256, dtype=np.uint32)
        # As float32 with the small exponent, times a power of two: exact, and right for subnormal numbers too.
        values = ((codes & 0x7F) << np.uint32(self.shift)).view(np.float32) * np.float32(
            2.0 ** (127 - self.bias)
        )
        values[(codes & 0x7F) > self.first_invalid] = np.nan
        values[(codes & 0x7F) == self.first_invalid] = np.inf if self.mantissa_bits == 2 else np.nan
        return np.where(codes & 0x80, -values, values).astype(np.float32)


def encode(values: Floats, layout: Layout, out: Bytes) -> None:
    """Fills `out` with codes; what rounds beyond the largest number becomes a code that is none."""
    bits = values.view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    half = np.uint32((1 << (layout.shift - 1)) - 1)
    rounded = (magnitude + half + ((magnitude >> np.uint32(layout.shift)) & np.uint32(1))) >> np.uint32(
        layout.shift
    )
    normal = rounded - np.uint32((127 - layout.bias) << layout.mantissa_bits)
    # Next to this power of two the last bit of a float32 is worth the smallest subnormal number.
    power = np.float32(2.0 ** (24 - layout.bias - layout.mantissa_bits))
    subnormal = (magnitude.view(np.float32) + power).view(np.uint32) - power.view(np.uint32)
    is_normal = magnitude >= np.uint32((128 - layout.bias) << 23)
    codes = np.minimum(np.where(is_normal, normal, subnormal), np.uint32(0x7F))
    np.copyto(out, codes | (bits >> np.uint32(24)) & np.uint32(0x80), casting="unsafe")


def is_invalid(codes: Bytes, layout: Layout) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (codes & 0x7F) >= layout.first_invalid
    return found
