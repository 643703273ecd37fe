"""Q2_K: 256 two-bit numbers in 16 groups, each with a scale and a minimum of four bits; 2.625 bits a weight.

| bytes | what |
|---|---|
| 0-15 | one byte per 16 elements: the scale in the low nibble, the minimum in the high one |
| 16-79 | quants: per 128 elements 32 bytes: byte l holds element l, l + 32, l + 64, l + 96, lowest bits first |
| 80-81 | d: float16, what the scales are multiplied by |
| 82-83 | dmin: float16, what the minima are multiplied by |

value = d * scale * quant - dmin * minimum. (ggml-quants.c: quantize_row_q2_K_ref, quantize_row_q2_K_impl,
dequantize_row_q2_K; bit for bit.) Where the stored scale of a group becomes zero, the quants of the search are kept, as
ggml does.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.rounding import nearest_int
from conversion.quants.scales_and_minima import largest_of, requantize, weighted
from conversion.quants.search import WEIGHTED, Tries, search_positive_scales, search_scales_and_minima
from conversion.quants.two_bits import pack_two_bits, unpack_two_bits

BLOCK_SIZE, TYPE_SIZE, GROUP, N_GROUPS, N_MAX, FOUR_BITS = 256, 84, 16, 16, 3, 15
TRIES = Tries(-0.5, 0.1, 16)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    groups = blocks.reshape(-1, GROUP)
    (d, scale_codes), (dmin, minimum_codes), searched = (
        _search(groups) if importance is None else _search_weighted(blocks, importance)
    )
    out[:, :16] = scale_codes | (minimum_codes << 4)
    out[:, 80:82] = d.astype("<f2")[:, None].view(np.uint8)
    out[:, 82:84] = dmin.astype("<f2")[:, None].view(np.uint8)
    out[:, 16:80] = pack_two_bits(requantize(groups, *_stored_steps(out), searched, N_MAX))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    step, offset = _stored_steps(blocks)
    shaped = out.reshape(-1, N_GROUPS, GROUP)
    np.multiply(
        step.reshape(-1, N_GROUPS, 1), unpack_two_bits(blocks[:, 16:80]).reshape(shaped.shape), out=shaped
    )
    shaped -= offset.reshape(-1, N_GROUPS, 1)


Coded = tuple[Floats, Bytes]


def _search(groups: Floats) -> tuple[Coded, Coded, Bytes]:
    scales, minima, searched = search_scales_and_minima(groups, N_MAX, np.abs(groups), TRIES, absolute=True)
    return _codes(scales.reshape(-1, N_GROUPS)), _codes(minima.reshape(-1, N_GROUPS)), searched


def _search_weighted(blocks: Floats, importance: Importance) -> tuple[Coded, Coded, Bytes]:
    weights = weighted(blocks, importance.weights, np.float32(1)).reshape(-1, GROUP)
    scales, minima, searched = search_scales_and_minima(blocks.reshape(-1, GROUP), N_MAX, weights, WEIGHTED)
    group_weights = np.add.accumulate(weights, axis=1)[:, -1].reshape(-1, N_GROUPS)
    coded_scales = search_positive_scales(scales.reshape(-1, N_GROUPS), FOUR_BITS, group_weights)
    return (
        coded_scales,
        search_positive_scales(minima.reshape(-1, N_GROUPS), FOUR_BITS, group_weights),
        searched,
    )


def _codes(values: Floats) -> Coded:
    """The largest of each block / 15, and every value as a share of the largest, as C's uint8 keeps it."""
    largest = largest_of(values)
    inverse: Floats = np.float32(FOUR_BITS) / largest
    codes = np.where(largest > 0, nearest_int(inverse * values), 0)
    return (largest / np.float32(FOUR_BITS))[:, 0], (codes & 255).astype(np.uint8)


def _stored_steps(blocks: Bytes) -> tuple[Floats, Floats]:
    d, dmin = (np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32) for at in (80, 82))
    codes = blocks[:, :16]
    step, offset = d * (codes & 15).astype(np.float32), dmin * (codes >> 4).astype(np.float32)
    return step.reshape(-1, 1), offset.reshape(-1, 1)


Q2_K = QuantType("Q2_K", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(80, 82))
