"""The kernels of IQ3_XXS: the numpy code's bytes."""

from typing import Any

import numpy as np

from conversion.quants.grids import grid
from conversion.quants.iq3 import BLOCK_SIZE, GROUP, N_GROUPS, POINT, tries
from conversion.quants.iq3_xxs import N_TRIES_EACH_SIDE, SIGNS, SMALLEST_MAGNITUDE, TYPE_SIZE
from conversion.quants.kernels.bits import bits_of, half_at, put_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq3 import (
    KEPT,
    LANES,
    N_POINTS,
    N_ROWS,
    ONE,
    ROW,
    WEIGHT,
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
_ENTRY, _NEIGHBOURS, _POINT_LEVELS, _CODES = tables("IQ3_XXS")
_LEVELS, _SIGNS = grid("IQ3_XXS").values.reshape(-1), SIGNS.reshape(-1)


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
    """Fills in points and signs, and `scales`; False if ggml aborts."""
    power = power_of(values) if weights.size else ZERO
    for group in range(N_GROUPS):
        x = values[group * GROUP : (group + 1) * GROUP]
        weigh(s, x, weights[group * GROUP : (group + 1) * GROUP], power)
        signs = _take_signs(s, x)
        scales[group] = ZERO
        if largest_of(s) < SMALLEST_MAGNITUDE:
            continue
        scale = solve(s, _NUMERATORS, _N_TRIES, (_ENTRY, _NEIGHBOURS, _POINT_LEVELS, _CODES), True)
        if np.isnan(scale):
            return False
        scales[group] = abs(scale)
        signs = signs ^ 0xFFFFFFF if scale < ZERO else signs
        for k in range(N_POINTS):
            out[2 + group * N_POINTS + k] = _ENTRY[bits_of(s[KEPT * ROW + k])]
        for i in range(4):
            out[66 + 4 * group + i] = signs >> 8 * i & 0xFF
    return True


@inner
def _take_signs(s: Any, x: Any) -> int:
    """Fills the row X with magnitudes and gives the signs, seven bits for eight weights, an even number of them set."""
    signs = 0
    for first in range(0, GROUP, 8):
        negative, least, n_negative = 0, 0, 0
        cost = s[WEIGHT * ROW + first] * x[first] * x[first]
        for i in range(8):
            value, own = x[first + i], s[WEIGHT * ROW + first + i] * x[first + i] * x[first + i]
            is_negative = not value >= ZERO
            s[X * ROW + first + i] = -value if is_negative else value
            negative |= is_negative << i
            n_negative += is_negative
            least = i if own < cost else least
            cost = own if own < cost else cost
        if n_negative & 1:
            negative ^= 1 << least
            s[X * ROW + first + least] = -s[X * ROW + first + least]
        signs |= (negative & 127) << 7 * (first // 8)
    return signs


@inner
def _write_scales(scales: Any, out: Any) -> None:
    """Fills in d and the groups' numbers, uint8 (1, TYPE_SIZE); all zero if no group has a scale."""
    largest = ZERO
    for group in range(N_GROUPS):
        largest = max(largest, scales[group])
    if largest == ZERO:
        out[0] = 0
        return
    d = largest / np.float32(31)
    put_half(out, 0, 0, d * np.float32(1.0125))
    for group in range(N_GROUPS):
        out[0, 66 + 4 * group + 3] |= scale_number(ONE / d, scales[group]) << 4


@kernel
def dequantize(data: Any, out: Any) -> None:
    blocks, values = data.reshape(-1, TYPE_SIZE), out.reshape(-1)
    for block in range(len(blocks)):
        d, at = half_at(blocks, block, 0), block * BLOCK_SIZE
        for group in range(N_GROUPS):
            tail = 0
            for i in range(4):
                tail |= np.int64(blocks[block, 66 + 4 * group + i]) << 8 * i
            scale = d * (np.float32(0.5) + np.float32(tail >> 28)) * np.float32(0.5)
            for k in range(N_POINTS):
                signs = (tail >> 7 * (k // 2) & 127) * 8 + k % 2 * POINT
                levels = load_floats(_LEVELS, np.int64(blocks[block, 2 + group * N_POINTS + k]) * POINT, 4)
                store_floats(values, at, levels * scale * load_floats(_SIGNS, signs, 4))
                at += POINT
