"""What Q4_0, Q4_1, Q5_0 and Q5_1 share: blocks of 32 quants of four or five bits, around zero or above a minimum.

The low four bits lie in 16 bytes, element j in the low nibble of byte j and element j + 16 in its high one; the fifth
bits in a little-endian uint32, element j in bit j. (ggml-quants.c: quantize_row_q4_0_ref … quantize_row_q5_1_impl.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance
from conversion.quants.rounding import first_equal
from conversion.quants.search import WEIGHTED, search_scales, search_scales_and_minima

BLOCK_SIZE = 32
_HALF = np.float32(0.5)


def signed_quants(blocks: Floats, importance: Importance | None, n_max: int) -> tuple[Floats, Bytes]:
    """The scale of each block, (n_blocks, 1), and its quants; value = scale * (quant - n_max).

    The scale takes its sign from the *first* element of largest magnitude; quants are x / d + n_max + 0.5 cut off, at
    most 2 * n_max - 1. With an importance matrix the scale is searched for instead.
    """
    if importance is not None:
        scales, quants = search_scales(blocks, n_max, weights_of(blocks, importance))
        return scales[:, None], quants
    magnitudes = np.abs(blocks)
    # Adding +0 turns -0 into +0: in C the largest starts as +0 and no zero exceeds it.
    largest = first_equal(blocks, magnitudes, magnitudes.max(axis=1, keepdims=True)) + np.float32(0)
    scale = largest / np.float32(-n_max)
    return scale, _cut_off(blocks * inverse_of(scale) + (np.float32(n_max) + _HALF), 2 * n_max - 1)


def ranged_quants(blocks: Floats, importance: Importance | None, n_max: int) -> tuple[Floats, Floats, Bytes]:
    """Scale and minimum of each block, (n_blocks, 1) each, and its quants, 0 … n_max; value = scale * quant + minimum.

    Of several smallest elements the first counts, be it +0 or -0. With an importance matrix both are searched for.
    """
    if importance is not None:
        weights = weights_of(blocks, importance)
        scales, minima, quants = search_scales_and_minima(blocks, n_max, weights, WEIGHTED)
        return scales[:, None], -minima[:, None], quants
    low = first_equal(blocks, blocks, blocks.min(axis=1, keepdims=True))
    scale = (blocks.max(axis=1, keepdims=True) - low) / np.float32(n_max)
    return scale, low, _cut_off((blocks - low) * inverse_of(scale) + _HALF, n_max)


def weights_of(blocks: Floats, importance: Importance) -> Floats:
    """The importance of each value: its weight times sqrt(the row's mean square + x * x)."""
    return importance.weights * np.sqrt(importance.row_power + blocks * blocks)


def inverse_of(scale: Floats) -> Floats:
    """1 / scale, and 0 where the scale is 0."""
    inverse: Floats = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    return inverse


def put_nibbles(quants: Bytes, out: Bytes) -> None:
    """Fills uint8 (n_blocks, 16) with the low four bits of quants (n_blocks, 32)."""
    low = quants & 15
    np.bitwise_or(low[:, :16], low[:, 16:] << 4, out=out)


def nibbles_in(data: Bytes) -> Bytes:
    """uint8 (n_blocks, 32) of uint8 (n_blocks, 16)."""
    return np.concatenate([data & 15, data >> 4], axis=1)


def put_fifth_bits(quants: Bytes, out: Bytes) -> None:
    """Fills uint8 (n_blocks, 4) with bit 4 of quants (n_blocks, 32)."""
    out[:] = np.packbits(quants >> 4 & 1, axis=1, bitorder="little")


def fifth_bits_in(data: Bytes) -> Bytes:
    """uint8 (n_blocks, 32), 0 or 16, of uint8 (n_blocks, 4)."""
    bits: Bytes = np.unpackbits(data, axis=1, bitorder="little")
    return bits * np.uint8(16)


def half_in(blocks: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of every block, as float32 (n_blocks, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def put_half(values: Floats, out: Bytes, at: int) -> None:
    """Stores float32 (n_blocks, 1) as float16 at byte `at` of every block."""
    out[:, at : at + 2] = values.astype("<f2").view(np.uint8)


def _cut_off(values: Floats, most: int) -> Bytes:
    # C converts to int8, through int32: infinity, from the inverse of a subnormal scale, becomes 0 that way.
    return np.minimum(values.astype(np.int32).astype(np.int8), most).astype(np.uint8)
