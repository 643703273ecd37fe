"""IQ1_M in machine code; the layout and what is computed are told in conversion/quants/iq1_m.py."""

from typing import Any

import numpy as np

from conversion.quants.iq1_m import BLOCK_SIZE, D_FACTOR, N_SHIFTS, RUN, TYPE_SIZE, ZERO_BELOW
from conversion.quants.kernels.bits import float_of_half, half_of
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
_ENTRY, _POINTS = tables("IQ1_M")
_LEVELS = levels("IQ1_M")
_PER_BLOCK = BLOCK_SIZE // RUN
_FLT_MAX = np.finfo(np.float32).max
_ROWS = 2 * N_SHIFTS
"""Sums there are of each cut: of weight * level * x for every way to shift, then of weight * level ** 2."""

_X, _W, _GROUP, _TERMS = (RUN * WIDTH * i for i in range(4))
_SCRATCH = _TERMS + 3 * RUN * _ROWS * WIDTH
"""Where in the scratch of a search the ordered values are, their weights, the group that each is of (0 or 1), and what
each adds to the sums as digit 0, 1 and 2; a row for each place in order."""


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_runs = values.size // RUN
    strip, steps = make_strip(RUN), np.empty(_PER_BLOCK, np.int32)
    rank, scratch = np.empty(RUN * WIDTH, np.int32), np.empty(_SCRATCH, np.float32)
    for first in range(0, n_runs, WIDTH):
        fill_strip(strip, values, first, RUN, f32(2))
        if weights.size:
            weigh_by_importance(strip, weights)
        else:
            _weigh_by_square(strip)
        prepare_runs(strip, ZERO_BELOW)
        ranks(strip, rank)
        _terms(strip, rank, scratch)
        _search(strip, rank, scratch)
        find_shifted_points(strip, _ENTRY, _POINTS)
        fit_shifted(strip)
        finish(strip, 255)
        aborted = first_aborted(strip, n_runs - first, _PER_BLOCK)
        if aborted >= 0:
            return first // _PER_BLOCK + aborted + 1
        for lane in range(0, min(WIDTH, n_runs - first), _PER_BLOCK):
            at = TYPE_SIZE * ((first + lane) // _PER_BLOCK)
            d = put_scales(strip, lane, _PER_BLOCK, steps)
            bits = half_of(_fitted_d(strip, lane, steps, d) * D_FACTOR) if d != 0 else np.int32(0)
            _pack(strip, lane, steps, d == 0, bits, data[at : at + TYPE_SIZE])
    return 0


@inner
def _weigh_by_square(strip: Any) -> None:
    for at in range(0, strip.x.size, WIDTH):
        x = load(strip.x, at)
        store(strip.weight, at, x * x)


@inner
def _terms(strip: Any, rank: np.ndarray, scratch: np.ndarray) -> None:
    """Fills _TERMS: for each digit and place in order what the value there adds to the sums, for all shifts."""
    put_in_order(rank, strip.x, scratch[_X:_W])
    put_in_order(rank, strip.weight, scratch[_W:_GROUP])
    for e in range(RUN):
        for lane in range(WIDTH):
            scratch[_GROUP + rank[e * WIDTH + lane] * WIDTH + lane] = e // 8
    for place in range(RUN):
        x, w = load(scratch, _X + place * WIDTH), load(scratch, _W + place * WIDTH)
        is_second = load(scratch, _GROUP + place * WIDTH) > splat(0.0)
        for digit in range(3):
            at = _TERMS + (digit * RUN + place) * _ROWS * WIDTH
            up, down = splat(LEVELS[0, digit]), splat(LEVELS[1, digit])
            _put_shifts(scratch, at, is_second, w * up * x, w * down * x)
            _put_shifts(scratch, at + N_SHIFTS * WIDTH, is_second, w * up * up, w * down * down)


@inner
def _put_shifts(scratch: np.ndarray, at: int, is_second: Any, up: Any, down: Any) -> None:
    store(scratch, at, up)
    store(scratch, at + WIDTH, select(is_second, down, up))
    store(scratch, at + 2 * WIDTH, select(is_second, up, down))
    store(scratch, at + 3 * WIDTH, down)


@inner
def _plus(sums: Any, scratch: np.ndarray, digit: int, place: int) -> Any:
    """All eight sums with the terms of one place added to them."""
    at = _TERMS + (digit * RUN + place) * _ROWS * WIDTH
    a, b, c, d, e, f, g, h = sums
    return (
        a + load(scratch, at),
        b + load(scratch, at + WIDTH),
        c + load(scratch, at + 2 * WIDTH),
        d + load(scratch, at + 3 * WIDTH),
        e + load(scratch, at + 4 * WIDTH),
        f + load(scratch, at + 5 * WIDTH),
        g + load(scratch, at + 6 * WIDTH),
        h + load(scratch, at + 7 * WIDTH),
    )


@inner
def _search(strip: Any, rank: np.ndarray, scratch: np.ndarray) -> None:
    """Fills `codes`, `scale`, and `signs` with the shifts; runs that no cut fits are no longer live."""
    zero = splat(0.0)
    best = zero, splat(-_FLT_MAX), splat_int(-1)
    low_sums = zero, zero, zero, zero, zero, zero, zero, zero
    for low in range(RUN + 1):
        sums = low_sums
        for middle in range(low, RUN + 1):
            a, b, c, d, e, f, g, h = _with_the_rest(sums, scratch, middle)
            number = (low << 7) | (middle << 2)
            best = tried(best, a, e, number)
            best = tried(best, b, f, number | 1)
            best = tried(best, c, g, number | 2)
            best = tried(best, d, h, number | 3)
            sums = _plus(sums, scratch, 1, min(middle, RUN - 1))
        low_sums = _plus(low_sums, scratch, 0, min(low, RUN - 1))
    scale, _, found = best
    none, one, three = splat_int(0), splat_int(1), splat_int(3)
    is_turned, is_live = scale < zero, (found >= none) & (load(strip.is_live, 0) != none)
    store(strip.is_live, 0, select(is_live, one, none))
    store(strip.scale, 0, select(is_turned, zero - scale, scale))
    shifts = found & three
    shifts = select(is_turned, three - shifts, shifts)
    store(strip.signs, 0, shifts >> one)
    store(strip.signs, WIDTH, shifts & one)
    cut_codes(strip, rank, found >> splat_int(7), (found >> splat_int(2)) & splat_int(31), is_turned)


@inner
def _with_the_rest(sums: Any, scratch: np.ndarray, middle: int) -> Any:
    for place in range(middle, RUN):
        sums = _plus(sums, scratch, 2, place)
    return sums


@inner
def _fitted_d(strip: Any, lane: int, steps: np.ndarray, d: float) -> float:
    """The d that fits the whole block best with these points and steps; the one given where nothing fits."""
    sum_x, sum_square = f32(0), f32(0)
    for run in range(_PER_BLOCK):
        multiple = f32(2 * steps[run] + 1)
        for e in range(RUN):
            place = (e // 8) * WIDTH + lane + run
            digit = (strip.codes[place] >> (2 * (e & 7))) & 3
            at = (lane + run) * WIDTH + e
            level = LEVELS[strip.signs[place], digit] * multiple
            weighted = strip.runs[WIDTH * WIDTH + at] * level
            sum_x += weighted * strip.runs[at]
            sum_square += weighted * level
    return sum_x / sum_square if sum_square > 0 else d


@inner
def _pack(  # noqa: PLR0917 - by position, as numba inlines it best
    strip: Any, lane: int, steps: np.ndarray, is_empty: bool, d: int, block: np.ndarray
) -> None:
    for run in range(_PER_BLOCK):
        high = 0
        for group in range(2):
            place = group * WIDTH + lane + run
            point = _ENTRY[strip.codes[place]]
            block[2 * run + group] = point & 255
            sign = 0 if is_empty else strip.signs[place] << 3
            high |= ((point >> 8) | sign) << (4 * group)
        block[32 + run] = high
    for word in range(4):
        bits = ((d >> (4 * word)) & 15) << 12
        for i in range(4):
            bits |= steps[4 * word + i] << (3 * i)
        block[48 + 2 * word] = bits & 255
        block[49 + 2 * word] = bits >> 8


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        bits = np.int32(0)
        for word in range(4):
            bits |= np.int32(blocks[at + 49 + 2 * word] >> 4) << (4 * word)
        d = float_of_half(np.int32(bits))
        for run in range(_PER_BLOCK):
            place = at + 48 + 2 * (run // 4)
            word = np.int32(blocks[place]) | (np.int32(blocks[place + 1]) << 8)
            scale = d * f32(2 * ((word >> (3 * (run & 3))) & 7) + 1)
            for group in range(2):
                high = blocks[at + 32 + run] >> (4 * group)
                number = blocks[at + 2 * run + group] | ((high & 7) << 8)
                delta = -DELTA if high & 8 else DELTA
                decode_shifted(
                    values, BLOCK_SIZE * block + RUN * run + 8 * group, scale, _LEVELS, number, delta
                )
