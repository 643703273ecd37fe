"""IQ4_XS: 256 four-bit numbers of unevenly spaced levels in 8 groups with a six-bit scale each; 4.25 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, the scale of largest magnitude / -32 (so d may be negative) |
| 2-3 | scales_h: uint16, the high two bits of each group's scale, those of group 0 lowest |
| 4-7 | scales_l: the low four bits; byte i: group 2i in the low nibble, group 2i + 1 in the high one |
| 8-135 | 16 bytes per group; byte j: element j in the low nibble, element j + 16 in the high one |

value = d * (scale - 32) * LEVELS[nibble]. (ggml-quants.c: quantize_iq4_xs, dequantize_row_iq4_xs; bit for bit.) Scales
and numbers are chosen by d before it is rounded to float16; a block of zeros has d = -0.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.iq4 import GROUP, inverse_or_zero, nearest, pack, search_scales, unpack, weights_of
from conversion.quants.rounding import nearest_int

BLOCK_SIZE, TYPE_SIZE, N_GROUPS = 256, 136, 8
_PAIRS = np.arange(0, 16, 2, dtype=np.uint16)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    weights = weights_of(blocks, importance)
    scales = search_scales(blocks.reshape(-1, GROUP), weights.reshape(-1, GROUP)).reshape(-1, N_GROUPS)
    d = -_first_largest(scales) / np.float32(32)
    stored = np.clip(nearest_int(inverse_or_zero(d) * scales), -32, 31)
    inverse = inverse_or_zero(d * stored.astype(np.float32))
    out[:, :2] = d.astype("<f2").view(np.uint8)
    _pack_scales((stored + 32).astype(np.uint16), out)
    numbers = nearest(blocks.reshape(-1, GROUP) * inverse.reshape(-1, 1)).astype(np.uint8)
    out[:, 8:] = pack(numbers).reshape(-1, BLOCK_SIZE // 2)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    d = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    scales = d * (_unpack_scales(blocks) - 32).astype(np.float32)
    levels = unpack(blocks[:, 8:].reshape(-1, GROUP // 2))
    np.multiply(scales.reshape(-1, 1), levels, out=out.reshape(-1, GROUP))


def _first_largest(scales: Floats) -> Floats:
    """The scale of largest magnitude of each block; NaN, in which a search over huge values ends, is never it."""
    magnitude = np.nan_to_num(np.abs(scales), nan=0.0, posinf=np.inf)
    first = magnitude.argmax(axis=1)[:, None]
    largest = np.take_along_axis(scales, first, axis=1)
    return np.where(magnitude.max(axis=1, keepdims=True) > 0, largest, np.float32(0))


def _pack_scales(scales: np.ndarray, out: Bytes) -> None:
    out[:, 2:4] = np.bitwise_or.reduce(scales >> 4 << _PAIRS, axis=1)[:, None].astype("<u2").view(np.uint8)
    low = scales & 15
    out[:, 4:8] = low[:, 0::2] | (low[:, 1::2] << 4)


def _unpack_scales(blocks: Bytes) -> np.ndarray:
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2").astype(np.int32) >> _PAIRS & 3
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=2).reshape(-1, N_GROUPS)
    scales: np.ndarray = low | (high << 4)
    return scales


IQ4_XS = QuantType("IQ4_XS", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,))
