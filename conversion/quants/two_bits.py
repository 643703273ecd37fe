"""How Q2_K and Q3_K lay two bits each of 256 numbers into 64 bytes.

Per 128 elements 32 bytes: byte l holds element l, l + 32, l + 64, l + 96, lowest bits first.
"""

import numpy as np

from conversion.quants.base import Bytes

_SHIFTS = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)


def pack_two_bits(quants: Bytes) -> Bytes:
    """uint8 (n_blocks, 64) of 256 quants a block, each 0 … 3."""
    packed: Bytes = np.bitwise_or.reduce(quants.reshape(-1, 2, 4, 32) << _SHIFTS, axis=2)
    return packed.reshape(-1, 64)


def unpack_two_bits(packed: Bytes) -> Bytes:
    """uint8 (n_blocks, 256) of uint8 (n_blocks, 64)."""
    return ((packed.reshape(-1, 2, 1, 32) >> _SHIFTS) & np.uint8(3)).reshape(-1, 256)
