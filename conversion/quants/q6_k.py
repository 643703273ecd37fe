"""Q6_K: 256 six-bit numbers in 16 groups with a signed scale each; 6.5625 bits a weight.

| bytes | what |
|---|---|
| 0-127 | ql: the low four bits; per 128 elements 64 bytes, l = 0-31: l holds l, l + 64; 32 + l holds l + 32, l + 96 |
| 128-191 | qh: the high two bits; per 128 elements 32 bytes: l holds those of l, l + 32, l + 64, l + 96, lowest first |
| 192-207 | scales: int8, one per 16 elements |
| 208-209 | d: float16; value = d * scale * (quant - 32) |

(ggml-quants.c: quantize_row_q6_K_ref, quantize_row_q6_K_impl, dequantize_row_q6_K; bit for bit.) Where the stored scale
of a group becomes zero, the quants of the search are kept, as ggml does.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.rounding import nearest_int
from conversion.quants.search import GROUP_MAX_EPS, search_scales

BLOCK_SIZE, TYPE_SIZE, GROUP = 256, 210, 16
_TWO_BITS = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    weights = None if importance is None else importance.weights.reshape(-1, GROUP)
    found, searched = search_scales(blocks.reshape(-1, GROUP), 32, weights)
    scales = found.reshape(-1, BLOCK_SIZE // GROUP)
    # A search over huge values ends in NaN, which C's `>` never prefers.
    magnitude = np.nan_to_num(np.abs(scales), nan=0.0, posinf=np.inf)
    first_largest = magnitude.argmax(axis=1)[:, None]
    largest = np.take_along_axis(scales, first_largest, axis=1)
    is_zero = magnitude.max(axis=1) < GROUP_MAX_EPS
    inverse = np.float32(-128) / largest
    d = (np.float32(1) / inverse).astype("<f2")
    stored = np.minimum(nearest_int(inverse * scales), 127).astype(np.int8)
    quants = _requantized(blocks, d, stored, searched)
    _pack(quants, stored, d, out)
    out[is_zero] = 0


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    low = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> _TWO_BITS) & 3
    levels = (low | (high << 4)).astype(np.float32) - np.float32(32)
    d = np.ascontiguousarray(blocks[:, 208:]).view("<f2").astype(np.float32)
    scales = d * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    shape = (len(blocks), BLOCK_SIZE // GROUP, GROUP)
    np.multiply(levels.reshape(shape), scales[:, :, None], out=out.reshape(shape))


def _requantized(blocks: Floats, d: np.ndarray, stored: np.ndarray, searched: Bytes) -> Bytes:
    """Quants by the scales as they are stored: float32 division, halves to even, 0 … 63."""
    groups = blocks.reshape(-1, BLOCK_SIZE // GROUP, GROUP)
    step = (d.astype(np.float32) * stored.astype(np.float32))[:, :, None]
    quants = (np.clip(nearest_int(groups / step), -32, 31) + 32).astype(np.uint8)
    return np.where(step == 0, searched.reshape(groups.shape), quants)


def _pack(quants: Bytes, stored: np.ndarray, d: np.ndarray, out: Bytes) -> None:
    halves = quants.reshape(-1, 2, 4, 32)  # each 128 elements as four runs of 32
    low, high = halves & 15, halves >> 4
    out[:, :128] = (low[:, :, :2] | (low[:, :, 2:] << 4)).reshape(-1, 128)
    out[:, 128:192] = np.bitwise_or.reduce(high << _TWO_BITS, axis=2).reshape(-1, 64)
    out[:, 192:208] = stored.view(np.uint8)
    out[:, 208:] = d.view(np.uint8)


Q6_K = QuantType("Q6_K", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(208,))
