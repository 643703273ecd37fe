"""IQ3_S: four weights at a time as one of 512 grid points, 8 groups with a four-bit scale each; 3.4375 bits a weight.

| bytes | what |
|---|---|
| 0-1 | d: float16, largest scale of a group / 31 * 1.033 |
| 2-65 | the low eight bits of the numbers of grid points, one per four weights |
| 66-73 | their ninth bits, lowest first |
| 74-105 | signs: a bit for each weight, lowest first; 1 is negative |
| 106-109 | scales: byte i: group 2i in the low nibble, group 2i + 1 in the high one |

value = d * (2 * scale + 1) * level of the point, levels 1, 3 ... 15. (ggml-quants.c: quantize_iq3_s,
dequantize_row_iq3_s; bit for bit, without an importance matrix, too.)

Where a group is all zero, ggml forgets to skip its place: the points and signs of the groups behind it move up by one
group, while ninth bits and scales stay. Such a block decodes to something else than was meant. We write the same bytes.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.grids import grid
from conversion.quants.iq3 import BLOCK_SIZE, GROUP, N_GROUPS, first_hopeless, search, tries, weights_of
from conversion.quants.rounding import nearest_int

TYPE_SIZE = 110
N_TRIES_EACH_SIDE = 9


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> int:
    x = np.abs(blocks).reshape(-1, GROUP)
    used = x.max(axis=1) > 0
    weights = weights_of(blocks, importance).reshape(-1, GROUP)
    found = search(x[used], weights[used], grid("IQ3_S"), tries(N_TRIES_EACH_SIDE), keep_on_grid=False)
    scales = np.zeros(len(x), dtype=np.float32)
    scales[used] = np.abs(found.scales)
    points = grid("IQ3_S").point_at[found.codes]
    ninth = np.zeros((len(x), 8), dtype=np.uint8)
    ninth[used] = points >> 8
    is_negative = (blocks.reshape(-1, GROUP)[used] < 0) ^ (found.scales < 0)[:, None]
    _pack_scales(scales.reshape(-1, N_GROUPS), out)
    out[:, 2:66] = _moved_up(points & 255, used)
    out[:, 66:74] = np.packbits(ninth, axis=1, bitorder="little").reshape(-1, N_GROUPS)
    out[:, 74:106] = _moved_up(np.packbits(is_negative, axis=1, bitorder="little"), used)
    is_hopeless = np.zeros(len(x), dtype=np.bool_)
    is_hopeless[used] = found.is_hopeless
    return first_hopeless(is_hopeless.reshape(-1, N_GROUPS))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    d = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    nibbles = np.stack([blocks[:, 106:] & 15, blocks[:, 106:] >> 4], axis=2).reshape(-1, N_GROUPS)
    scales = d * (2 * nibbles + 1).astype(np.float32)
    ninth = np.unpackbits(blocks[:, 66:74], axis=1, bitorder="little").astype(np.int64)
    levels = grid("IQ3_S").values[blocks[:, 2:66] | ninth << 8].reshape(-1, N_GROUPS, GROUP)
    is_negative = np.unpackbits(blocks[:, 74:106], axis=1, bitorder="little").reshape(-1, N_GROUPS, GROUP)
    signs = np.where(is_negative, np.float32(-1), np.float32(1))
    np.multiply(scales[:, :, None] * levels, signs, out=out.reshape(-1, N_GROUPS, GROUP))


def _pack_scales(scales: Floats, out: Bytes) -> None:
    largest = scales.max(axis=1, keepdims=True)
    d = largest / np.float32(31)
    levels = nearest_int(np.float32(0.5) * (np.float32(1) / d * scales - np.float32(1)))
    stored = np.where(largest > 0, np.clip(levels, 0, 15), 0).astype(np.uint8)
    out[:, :2] = (d * np.float32(1.033)).astype("<f2").view(np.uint8)
    out[:, 106:] = stored[:, 0::2] | stored[:, 1::2] << np.uint8(4)


def _moved_up(parts: np.ndarray, used: np.ndarray) -> Bytes:
    """The parts of the groups that are `used`, laid where ggml lays them: without a gap for those that are not."""
    laid = np.zeros((len(used) // N_GROUPS, N_GROUPS, parts.shape[1]), dtype=np.uint8)
    in_block = used.reshape(-1, N_GROUPS)
    block, _ = np.nonzero(in_block)
    laid[block, (in_block.cumsum(axis=1) - 1)[in_block]] = parts
    return laid.reshape(len(laid), -1)


IQ3_S = QuantType("IQ3_S", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0,))
