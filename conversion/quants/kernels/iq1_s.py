"""IQ1_S in machine code; the layout and what is computed are told in conversion/quants/iq1_s.py."""

from typing import Any

import numpy as np

from conversion.quants.iq1_s import BLOCK_SIZE, D_FACTOR, RUN, TYPE_SIZE, ZERO_BELOW
from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq1 import (
    cut_codes,
    decode_shifted,
    find_shifted_points,
    fit_shifted,
    prepare_runs,
    put_in_order,
    put_scales,
    ranks,
    tried,
)
from conversion.quants.kernels.iq2 import fill_strip, finish, first_aborted, make_strip, weigh_by_importance
from conversion.quants.kernels.lanes import WIDTH, load, select, splat, splat_int, store
from conversion.quants.kernels.lattice import levels, tables
from conversion.quants.ternary import DELTA, LEVELS

f32 = np.float32
_ENTRY, _POINTS = tables("IQ1_S")
_LEVELS = levels("IQ1_S")
_PER_BLOCK, _GROUPS = BLOCK_SIZE // RUN, RUN // 8
_FLT_MAX = np.finfo(np.float32).max
_CUTS = (RUN + 1) * WIDTH
_SUM_X, _SUM_W, _X_UP, _X_DOWN, _W_UP, _W_DOWN = (_CUTS * i for i in range(6))
"""Where in the scratch of a search the running sums are, and what the digit 2 adds to each sum, a row for each cut."""


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_runs = values.size // RUN
    strip, steps = make_strip(RUN), np.empty(_PER_BLOCK, np.int32)
    rank, sums = np.empty(RUN * WIDTH, np.int32), np.empty(6 * _CUTS, np.float32)
    for first in range(0, n_runs, WIDTH):
        fill_strip(strip, values, first, RUN, f32(2))
        weigh_by_importance(strip, weights)
        prepare_runs(strip, ZERO_BELOW)
        ranks(strip, rank)
        _search(strip, rank, sums)
        find_shifted_points(strip, _ENTRY, _POINTS)
        fit_shifted(strip)
        finish(strip, 255)
        aborted = first_aborted(strip, n_runs - first, _PER_BLOCK)
        if aborted >= 0:
            return first // _PER_BLOCK + aborted + 1
        for lane in range(0, min(WIDTH, n_runs - first), _PER_BLOCK):
            at = TYPE_SIZE * ((first + lane) // _PER_BLOCK)
            d = put_scales(strip, lane, _PER_BLOCK, steps)
            set_half(data, at, d * D_FACTOR)
            _pack(strip, lane, steps, d == 0, data[at : at + TYPE_SIZE])
    return 0


@inner
def _search(strip: Any, rank: np.ndarray, sums: np.ndarray) -> None:
    """Fills `codes`, `scale`, and `signs` with the shift; runs that no cut fits are no longer live."""
    _sum_up(strip, rank, sums)
    low_up, low_down = splat(LEVELS[0, 0]), splat(LEVELS[1, 0])
    delta = splat(DELTA)
    best = splat(0.0), splat(-_FLT_MAX), splat_int(-1)
    for low in range(RUN + 1):
        sum_x, sum_w = load(sums, _SUM_X + low * WIDTH), load(sums, _SUM_W + low * WIDTH)
        x_up, x_down = sum_x * low_up, sum_x * low_down
        w_up, w_down = sum_w * low_up * low_up, sum_w * low_down * low_down
        for middle in range(low, RUN + 1):
            at = middle * WIDTH
            x_middle = (load(sums, _SUM_X + at) - sum_x) * delta
            w_middle = (load(sums, _SUM_W + at) - sum_w) * delta * delta
            number = (low << 7) | (middle << 1)
            # Shifted down, the middle level is -DELTA: its product is that of DELTA with the other sign.
            fit_up, fit_down = (
                x_up + x_middle + load(sums, _X_UP + at),
                x_down - x_middle + load(sums, _X_DOWN + at),
            )
            best = tried(best, fit_up, w_up + w_middle + load(sums, _W_UP + at), number)
            best = tried(best, fit_down, w_down + w_middle + load(sums, _W_DOWN + at), number | 1)
    scale, _, found = best
    none, one, zero = splat_int(0), splat_int(1), splat(0.0)
    is_turned = scale < zero
    store(strip.is_live, 0, select(found < none, none, load(strip.is_live, 0)))
    store(strip.scale, 0, select(is_turned, zero - scale, scale))
    shift = found & one
    shift = select(is_turned, one - shift, shift)
    for group in range(_GROUPS):
        store(strip.signs, group * WIDTH, shift)
    cut_codes(strip, rank, found >> splat_int(7), (found >> one) & splat_int(63), is_turned)


@inner
def _sum_up(strip: Any, rank: np.ndarray, sums: np.ndarray) -> None:
    """Fills `sums`: over the first values in order of weight * x and of weight; then what the rest adds as digit 2."""
    put_in_order(rank, strip.x, sums[_SUM_X + WIDTH : _SUM_W])
    put_in_order(rank, strip.weight, sums[_SUM_W + WIDTH : _X_UP])
    sum_x, sum_w = splat(0.0), splat(0.0)
    store(sums, _SUM_X, sum_x)
    store(sums, _SUM_W, sum_w)
    for at in range(WIDTH, _CUTS, WIDTH):
        weight = load(sums, _SUM_W + at)
        sum_x = sum_x + weight * load(sums, _SUM_X + at)
        sum_w = sum_w + weight
        store(sums, _SUM_X + at, sum_x)
        store(sums, _SUM_W + at, sum_w)
    high_up, high_down = splat(LEVELS[0, 2]), splat(LEVELS[1, 2])
    for at in range(0, _CUTS, WIDTH):
        x, w = sum_x - load(sums, _SUM_X + at), sum_w - load(sums, _SUM_W + at)
        store(sums, _X_UP + at, x * high_up)
        store(sums, _X_DOWN + at, x * high_down)
        store(sums, _W_UP + at, w * high_up * high_up)
        store(sums, _W_DOWN + at, w * high_down * high_down)


@inner
def _pack(strip: Any, lane: int, steps: np.ndarray, is_empty: bool, block: np.ndarray) -> None:
    for run in range(_PER_BLOCK):
        word = 0 if is_empty else (steps[run] | (strip.signs[lane + run] << 3)) << 12
        for group in range(_GROUPS):
            point = _ENTRY[strip.codes[group * WIDTH + lane + run]]
            block[2 + _GROUPS * run + group] = point & 255
            word |= (point >> 8) << (3 * group)
        block[34 + 2 * run] = word & 255
        block[35 + 2 * run] = word >> 8


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        d = get_half(blocks, at)
        for run in range(_PER_BLOCK):
            word = np.int32(blocks[at + 34 + 2 * run]) | (np.int32(blocks[at + 35 + 2 * run]) << 8)
            scale = d * f32(2 * ((word >> 12) & 7) + 1)
            delta = -DELTA if word & 0x8000 else DELTA
            for group in range(_GROUPS):
                number = blocks[at + 2 + _GROUPS * run + group] | (((word >> (3 * group)) & 7) << 8)
                place = BLOCK_SIZE * block + RUN * run + 8 * group
                decode_shifted(values, place, scale, _LEVELS, number, delta)
