"""Q3_K: 256 three-bit numbers in 16 groups with a signed scale of six bits each; 3.4375 bits a weight.

| bytes | what |
|---|---|
| 0-31 | hmask: the third bit of element 32 * k + l is bit k of byte l |
| 32-95 | the low two bits: per 128 elements 32 bytes: byte l holds l, l + 32, l + 64, l + 96, lowest bits first |
| 96-103 | the low four bits of scale j and, above them, of scale j + 8 |
| 104-107 | byte j: the high two bits of scales j, j + 4, j + 8, j + 12, lowest first |
| 108-109 | d: float16; value = d * (scale - 32) * (quant - 4) |

(ggml-quants.c: quantize_row_q3_K_ref, quantize_row_q3_K_impl, dequantize_row_q3_K; bit for bit.) Where the stored scale
of a group becomes zero, the quants of the search are kept, as ggml does.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.rounding import nearest_int
from conversion.quants.scales_and_minima import weighted
from conversion.quants.search import refine_scales, search_scales
from conversion.quants.two_bits import pack_two_bits, unpack_two_bits

BLOCK_SIZE, TYPE_SIZE, GROUP, N_GROUPS, N_MAX = 256, 110, 16, 16, 4
_RUN_BIT = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
_SCALE_SHIFT = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 4, 1)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    d, codes, searched = _search(blocks) if importance is None else _search_weighted(blocks, importance)
    out[:, 96:104] = (codes[:, :8] & 15) | ((codes[:, 8:] & 15) << 4)
    out[:, 104:108] = np.bitwise_or.reduce(codes.reshape(-1, 4, 4) >> 4 << _SCALE_SHIFT, axis=1)
    out[:, 108:110] = d.astype("<f2")[:, None].view(np.uint8)
    quants = _requantized(blocks, _stored_steps(out), searched.reshape(-1, N_GROUPS, GROUP))
    out[:, :32] = np.bitwise_or.reduce((quants >> np.uint8(2)).reshape(-1, 8, 32) << _RUN_BIT, axis=1)
    out[:, 32:96] = pack_two_bits(quants & np.uint8(3))


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    high = (blocks[:, None, :32] >> _RUN_BIT) & 1
    quants = unpack_two_bits(blocks[:, 32:96]) | (high << 2).reshape(-1, BLOCK_SIZE)
    levels = (quants.view(np.int8) - np.int8(N_MAX)).reshape(-1, N_GROUPS, GROUP)
    np.multiply(levels, _stored_steps(blocks), out=out.reshape(levels.shape))


def _search(blocks: Floats) -> tuple[Floats, Bytes, Bytes]:
    """d, the codes of the scales (scale + 32), and the quants of the search."""
    found, searched = refine_scales(blocks.reshape(-1, GROUP), N_MAX)
    scales = found.reshape(-1, N_GROUPS)
    # A search over huge values ends in NaN, which C's `>` never prefers.
    first_largest = np.nan_to_num(np.abs(scales), nan=0.0, posinf=np.inf).argmax(axis=1)[:, None]
    largest = np.nan_to_num(
        np.take_along_axis(scales, first_largest, axis=1), nan=0.0, posinf=np.inf, neginf=-np.inf
    )
    inverse = np.float32(-32) / largest
    # C keeps what nearest_int gives in an int8 before it is limited.
    codes = np.clip(nearest_int(inverse * scales).astype(np.int8), -32, 31) + 32
    codes = np.where(largest != 0, codes, 0)
    d: Floats = np.where(largest != 0, np.float32(1) / inverse, np.float32(0))
    return d[:, 0], codes.astype(np.uint8), searched


def _search_weighted(blocks: Floats, importance: Importance) -> tuple[Floats, Bytes, Bytes]:
    weights = weighted(blocks, importance.weights, np.float32(2)).reshape(-1, GROUP)
    scales, searched = search_scales(blocks.reshape(-1, GROUP), N_MAX, weights)
    group_weights = np.add.accumulate(weights, axis=1)[:, -1].reshape(-1, N_GROUPS)
    d, codes = search_scales(scales.reshape(-1, N_GROUPS), 32, group_weights)
    return d, codes, searched


def _requantized(blocks: Floats, step: Floats, searched: Bytes) -> Bytes:
    groups = blocks.reshape(-1, N_GROUPS, GROUP)
    quants = (np.clip(nearest_int(groups / step), -N_MAX, N_MAX - 1) + N_MAX).astype(np.uint8)
    return np.where(step == 0, searched, quants)


def _stored_steps(blocks: Bytes) -> Floats:
    """What a level is multiplied by, as stored: float32 (n_blocks, 16, 1)."""
    low = np.concatenate([blocks[:, 96:104] & 15, blocks[:, 96:104] >> 4], axis=1)
    high = ((blocks[:, None, 104:108] >> _SCALE_SHIFT) & 3).reshape(-1, N_GROUPS)
    scales = (low | (high << 4)).astype(np.float32) - np.float32(32)
    d = np.ascontiguousarray(blocks[:, 108:110]).view("<f2").astype(np.float32)
    steps: Floats = d * scales
    return steps[:, :, None]


Q3_K = QuantType("Q3_K", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(108,))
