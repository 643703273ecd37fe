"""The kernels of IQ3_S: the numpy code's bytes."""

from typing import Any

import numpy as np

from conversion.quants.grids import grid
from conversion.quants.iq3 import BLOCK_SIZE, GROUP, N_GROUPS, POINT, tries
from conversion.quants.iq3_s import N_TRIES_EACH_SIDE, TYPE_SIZE
from conversion.quants.kernels.bits import bits_of, half_at, put_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq3 import (
    KEPT,
    LANES,
    N_POINTS,
    N_ROWS,
    ONE,
    ROW,
    ZERO,
    X,
    largest_of,
    power_of,
    scale_number,
    solve,
    tables,
    weigh,
)
from conversion.quants.kernels.vectors import load_floats, store_floats

_N_TRIES = 2 * N_TRIES_EACH_SIDE + 1
_NUMERATORS = np.pad(tries(N_TRIES_EACH_SIDE), (0, LANES - _N_TRIES), mode="edge")
_ENTRY, _NEIGHBOURS, _POINT_LEVELS, _CODES = tables("IQ3_S")
_LEVELS = grid("IQ3_S").values.reshape(-1)
_SIGNS = np.where(np.arange(16)[:, None] >> np.arange(4) & 1, np.float32(-1), np.float32(1)).reshape(-1)
_POINTS_AT, _NINTH_AT, _SIGNS_AT, _SCALES_AT = 2, 66, 74, 106


@kernel
def quantize(rows: Any, weights: Any, out: Any) -> int:
    values, blocks = rows.reshape(-1, BLOCK_SIZE), out.reshape(-1, TYPE_SIZE)
    s, scales = np.zeros(N_ROWS * ROW, dtype=np.float32), np.zeros(N_GROUPS, dtype=np.float32)
    for block in range(len(blocks)):
        at = block * BLOCK_SIZE % rows.shape[1]
        blocks[block] = 0
        if not _write_groups(s, values[block], weights[at : at + BLOCK_SIZE], scales, blocks[block]):
            return block + 1
        _write_scales(scales, blocks[block : block + 1])
    return 0


@inner
def _write_groups(s: Any, values: Any, weights: Any, scales: Any, out: Any) -> bool:
    """Fills in points and signs, those of groups that are all zero left out, and `scales`; False if ggml aborts."""
    power = power_of(values) if weights.size else ZERO
    written = 0
    for group in range(N_GROUPS):
        x = values[group * GROUP : (group + 1) * GROUP]
        for j in range(GROUP):
            s[X * ROW + j] = abs(x[j])
        scales[group] = ZERO
        if largest_of(s) == ZERO:
            continue
        weigh(s, x, weights[group * GROUP : (group + 1) * GROUP], power)
        scale = solve(s, _NUMERATORS, _N_TRIES, (_ENTRY, _NEIGHBOURS, _POINT_LEVELS, _CODES), False)
        if np.isnan(scale):
            return False
        scales[group] = abs(scale)
        for k in range(N_POINTS):
            number = _ENTRY[bits_of(s[KEPT * ROW + k])]
            out[_POINTS_AT + written * N_POINTS + k] = number & 0xFF
            out[_NINTH_AT + group] |= (number >> 8) << k
        for j in range(GROUP):
            out[_SIGNS_AT + written * 4 + j // 8] |= ((x[j] < ZERO) ^ (scale < ZERO)) << j % 8
        written += 1
    return True


@inner
def _write_scales(scales: Any, out: Any) -> None:
    """Fills in d and the groups' numbers, uint8 (1, TYPE_SIZE); they stay 0 if no group has a scale."""
    largest = ZERO
    for group in range(N_GROUPS):
        largest = max(largest, scales[group])
    if largest == ZERO:
        return
    d = largest / np.float32(31)
    put_half(out, 0, 0, d * np.float32(1.033))
    for group in range(N_GROUPS):
        out[0, _SCALES_AT + group // 2] |= scale_number(ONE / d, scales[group]) << 4 * (group % 2)


@kernel
def dequantize(data: Any, out: Any) -> None:
    blocks, values = data.reshape(-1, TYPE_SIZE), out.reshape(-1)
    for block in range(len(blocks)):
        d, at = half_at(blocks, block, 0), block * BLOCK_SIZE
        for group in range(N_GROUPS):
            number = blocks[block, _SCALES_AT + group // 2] >> 4 * (group % 2) & 15
            scale, ninth = d * np.float32(2 * number + 1), np.int64(blocks[block, _NINTH_AT + group])
            for k in range(N_POINTS):
                point = np.int64(blocks[block, _POINTS_AT + group * N_POINTS + k]) | (ninth >> k & 1) << 8
                signs = np.int64(blocks[block, _SIGNS_AT + group * 4 + k // 2]) >> 4 * (k % 2) & 15
                levels = load_floats(_LEVELS, point * POINT, 4)
                store_floats(values, at, levels * scale * load_floats(_SIGNS, signs * 4, 4))
                at += POINT
