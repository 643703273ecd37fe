"""What TQ1_0 and TQ2_0 share: numbers that are -1, 0 or 1 times the largest magnitude of 256."""

import numpy as np

from conversion.quants.base import Bytes, Floats
from conversion.quants.rounding import round_half_away
from conversion.quants.thirty_two import inverse_of


def ternary_quants(blocks: Floats) -> tuple[Floats, Bytes]:
    """The largest magnitude of each block, (n_blocks, 1), and its quants: 0, 1 and 2 for -1, 0 and 1."""
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    shares = blocks * inverse_of(scale)
    # The inverse of a subnormal scale is infinite. C's lroundf makes a 64-bit integer, whose low half is then 0.
    shares = np.where(np.isfinite(shares), shares, np.float32(0))
    return scale, (round_half_away(shares) + 1).astype(np.uint8)
