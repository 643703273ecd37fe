"""What Q4_K and Q5_K share: 8 groups of 32 with a scale and a minimum each, and the 16 bytes that hold those.

| bytes | what |
|---|---|
| 0-1 | d: float16, what the scales are multiplied by |
| 2-3 | dmin: float16, what the minima are multiplied by |
| 4-7 | scale 0-3 in the low six bits; above them the high two bits of scale 4-7 |
| 8-11 | minimum 0-3 in the low six bits; above them the high two bits of minimum 4-7 |
| 12-15 | the low four bits of scale 4-7, and above them those of minimum 4-7 |
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance
from conversion.quants.rounding import nearest_int
from conversion.quants.search import (
    WEIGHTED,
    Tries,
    search_positive_scales,
    search_scales_and_minima,
)

BLOCK_SIZE, GROUP, N_GROUPS, SIX_BITS = 256, 32, 8, 63


def quantize_groups(
    blocks: Floats, importance: Importance | None, n_max: int, tries: Tries, out: Bytes
) -> Bytes:
    """Fills the first 16 bytes of each block of `out`; gives back the quants, uint8 (n_blocks, 8, 32), 0 … n_max."""
    groups = blocks.reshape(-1, GROUP)
    weights = _weights(groups) if importance is None else weighted(blocks, importance.weights, np.float32(2))
    weights = weights.reshape(-1, GROUP)
    tries = tries if importance is None else WEIGHTED
    scales, minima, searched = search_scales_and_minima(groups, n_max, weights, tries)
    scales, minima = scales.reshape(-1, N_GROUPS), minima.reshape(-1, N_GROUPS)
    if importance is None:
        (d, scale_codes), (dmin, minimum_codes) = _codes(scales), _codes(minima)
    else:
        group_weights = np.add.accumulate(weights, axis=1)[:, -1].reshape(-1, N_GROUPS)
        d, scale_codes = search_positive_scales(scales, SIX_BITS, group_weights)
        dmin, minimum_codes = search_positive_scales(minima, SIX_BITS, group_weights)
    out[:, 0:2] = d.astype("<f2")[:, None].view(np.uint8)
    out[:, 2:4] = dmin.astype("<f2")[:, None].view(np.uint8)
    out[:, 4:16] = _pack(scale_codes, minimum_codes)
    return requantize(groups, *stored_steps(out), searched, n_max).reshape(-1, N_GROUPS, GROUP)


def dequantize_groups(blocks: Bytes, quants: Bytes, out: Floats) -> None:
    """Fills `out`, float32 (n_blocks, 256), with the values of quants, uint8 (n_blocks, 8, 32)."""
    step, offset = stored_steps(blocks)
    shaped = out.reshape(-1, N_GROUPS, GROUP)
    np.multiply(step.reshape(-1, N_GROUPS, 1), quants, out=shaped)
    shaped -= offset.reshape(-1, N_GROUPS, 1)


def requantize(groups: Floats, step: Floats, offset: Floats, searched: Bytes, n_max: int) -> Bytes:
    """Quants by the scales and minima as they are stored, each float32 (n_groups, 1); `searched` where a step is 0."""
    quants = np.clip(nearest_int((groups + offset) / step), 0, n_max).astype(np.uint8)
    return np.where(step == 0, searched, quants)


def weighted(blocks: Floats, weights: Floats, factor: np.float32) -> Floats:
    """The importance of each value: its weight times sqrt(factor * the block's mean square + x * x)."""
    squares = blocks * blocks
    # accumulate adds strictly from left to right, as the C loop does; sum() would add in pairs.
    mean = factor * np.add.accumulate(squares, axis=1)[:, -1:] / np.float32(BLOCK_SIZE)
    return weights * np.sqrt(mean + squares)


def largest_of(values: Floats) -> Floats:
    """The largest of each block's scales or minima, at least 0, as (n_blocks, 1). NaN is none, as C's `>` has it."""
    largest: Floats = np.fmax(np.fmax.reduce(values, axis=1, keepdims=True), np.float32(0))
    return largest


def stored_steps(blocks: Bytes) -> tuple[Floats, Floats]:
    """What a quant is multiplied by and what is then taken off, as stored: float32 (n_groups, 1) each."""
    d = np.ascontiguousarray(blocks[:, 0:2]).view("<f2").astype(np.float32)
    dmin = np.ascontiguousarray(blocks[:, 2:4]).view("<f2").astype(np.float32)
    low_scales, low_minima, mixed = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = np.concatenate([low_scales & 63, (mixed & 15) | (low_scales >> 6 << 4)], axis=1)
    minima = np.concatenate([low_minima & 63, (mixed >> 4) | (low_minima >> 6 << 4)], axis=1)
    return (d * scales.astype(np.float32)).reshape(-1, 1), (dmin * minima.astype(np.float32)).reshape(-1, 1)


def _weights(groups: Floats) -> Floats:
    power = np.add.accumulate(groups * groups, axis=1)[:, -1:]
    return np.sqrt(power / np.float32(GROUP)) + np.abs(groups)


def _codes(values: Floats) -> tuple[Floats, Bytes]:
    """The largest of each block / 63, and every value as a share of the largest, 0 … 63."""
    largest = largest_of(values)
    inverse: Floats = np.where(largest > 0, np.float32(SIX_BITS) / largest, np.float32(0))
    # C keeps the number in an uint8 before it is limited.
    codes = np.minimum(nearest_int(inverse * values) & 255, SIX_BITS).astype(np.uint8)
    return largest[:, 0] / np.float32(SIX_BITS), codes


def _pack(scales: Bytes, minima: Bytes) -> Bytes:
    (low_scales, high_scales), (low_minima, high_minima) = (
        (codes[:, :4], codes[:, 4:]) for codes in (scales, minima)
    )
    return np.concatenate(
        [
            low_scales | (high_scales >> 4 << 6),
            low_minima | (high_minima >> 4 << 6),
            (high_scales & 15) | ((high_minima & 15) << 4),
        ],
        axis=1,
    )
