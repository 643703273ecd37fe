"""IQ3_XXS: four weights at a time as one of 256 grid points, 8 groups with a four-bit scale each; 3.0625 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, largest scale of a group / 31 * 1.0125 |
| 2-65 | numbers of grid points, one per four weights |
| 66-97 | a uint32 per group: four times 7 bits of signs, those of elements 0-7 lowest, then 4 bits of scale |

Seven bits say the signs of eight weights: 1 is negative, and the number of negative ones is always even. Quantising,
the weight that matters least is flipped where it is odd. value = d * (scale + 0.5) / 2 * level of the point, levels
from 4 to 62. (ggml-quants.c: quantize_iq3_xxs, dequantize_row_iq3_xxs; bit for bit, without an importance matrix, too.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import grid
from conversion.quants.iq3 import BLOCK_SIZE, GROUP, N_GROUPS, first_hopeless, search, tries, weights_of
from conversion.quants.rounding import nearest_int

TYPE_SIZE = 98
SMALLEST_MAGNITUDE = np.float32(1e-8)
"""A group whose largest value is smaller counts as all zero."""

N_TRIES_EACH_SIDE = 15
_BIT = np.arange(8, dtype=np.uint8)
_SEVEN_BITS = np.array([0, 7, 14, 21], dtype=np.uint32)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    out[:] = 0
    weights = weights_of(blocks, importance)
    x, signs = _even_signs(blocks.reshape(-1, 8), weights.reshape(-1, 8))
    x, weights, signs = x.reshape(-1, GROUP), weights.reshape(-1, GROUP), signs.reshape(-1, 4)
    used = x.max(axis=1) >= SMALLEST_MAGNITUDE
    found = search(x[used], weights[used], grid("IQ3_XXS"), tries(N_TRIES_EACH_SIDE), keep_on_grid=True)
    is_negative = found.scales < 0
    scales = np.zeros(len(x), dtype=np.float32)
    scales[used] = np.abs(found.scales)
    tails = np.zeros(len(x), dtype=np.uint32)
    stored_signs = (signs[used] ^ np.where(is_negative, 0xFF, 0)[:, None]) & 127
    tails[used] = np.bitwise_or.reduce(stored_signs.astype(np.uint32) << _SEVEN_BITS, axis=1)
    points = np.zeros((len(x), 8), dtype=np.uint8)
    points[used] = grid("IQ3_XXS").point_at[found.codes]
    _pack(scales.reshape(-1, N_GROUPS), points, tails, out)
    is_hopeless = np.zeros(len(x), dtype=np.bool_)
    is_hopeless[used] = found.is_hopeless
    return first_hopeless(is_hopeless.reshape(-1, N_GROUPS))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    d = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    tails = np.ascontiguousarray(blocks[:, 66:]).view("<u4")
    scales = d * (np.float32(0.5) + (tails >> 28).astype(np.float32)) * np.float32(0.5)
    levels = grid("IQ3_XXS").values[blocks[:, 2:66]].reshape(-1, N_GROUPS, GROUP)
    signs = SIGNS[tails[:, :, None] >> _SEVEN_BITS & 127].reshape(-1, N_GROUPS, GROUP)
    np.multiply(scales[:, :, None] * levels, signs, out=out.reshape(-1, N_GROUPS, GROUP))


def signs_of(bits: Bytes) -> Floats:
    """float32 (n, 8): -1 for each bit that is set, lowest first, and 1."""
    return np.where(bits[:, None] >> _BIT & 1, np.float32(-1), np.float32(1))


def _all_signs() -> Floats:
    seven = np.arange(128, dtype=np.uint8)
    return signs_of(seven | np.bitwise_xor.reduce(seven[:, None] >> _BIT & 1, axis=1) << 7)


SIGNS = _all_signs()
"""float32 (128, 8): the signs that seven bits stand for, of which the eighth is the parity."""


def _even_signs(x: Floats, weights: Floats) -> tuple[Floats, Bytes]:
    """Values (n, 8) with signs taken away, and these as bits (n,), even in number: where they are not, the value that
    matters least keeps its sign, or is given one."""
    is_negative = ~(x >= 0)
    is_odd = is_negative.sum(axis=1) % 2 == 1
    least = np.argmin(weights * x * x, axis=1)
    is_negative[is_odd, least[is_odd]] ^= True
    bits = np.bitwise_or.reduce(is_negative.astype(np.uint8) << _BIT, axis=1)
    return np.where(is_negative, -x, x), bits


def _pack(scales: Floats, points: Bytes, tails: np.ndarray, out: Bytes) -> None:
    largest = scales.max(axis=1, keepdims=True)
    d = largest / np.float32(31)
    levels = nearest_int(np.float32(0.5) * (np.float32(1) / d * scales - np.float32(1)))
    stored = np.clip(levels, 0, 15).astype(np.uint32)
    out[:, :2] = (d * np.float32(1.0125)).astype("<f2").view(np.uint8)
    out[:, 2:66] = points.reshape(-1, BLOCK_SIZE // 4)
    out[:, 66:] = (tails.reshape(-1, N_GROUPS) | stored << 28).astype("<u4").view(np.uint8)
    out[largest[:, 0] == 0] = 0


IQ3_XXS = QuantType("IQ3_XXS", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,))
