"""IQ2_XXS in machine code; the layout and what is computed are told in conversion/quants/iq2_xxs.py."""

from typing import Any

import numpy as np

from conversion.quants.iq2_xxs import BLOCK_SIZE, N_MAX, RUN, TYPE_SIZE, ZERO_BELOW
from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq2 import (
    fill_strip,
    find_points,
    finish,
    first_aborted,
    fit,
    make_strip,
    prepare_runs,
    put_scales,
    round_digits,
    take_signs,
    weigh_by_importance,
)
from conversion.quants.kernels.lanes import (
    WIDTH,
    larger,
    load,
    nearest,
    select,
    smaller,
    splat,
    splat_int,
    store,
    to_float,
)
from conversion.quants.kernels.lattice import decode_group, levels, tables
from conversion.quants.lattice import EVEN_SIGNS

f32 = np.float32
_ENTRY, _POINTS = tables("IQ2_XXS")
_LEVELS = levels("IQ2_XXS")
_PER_BLOCK, _GROUPS = BLOCK_SIZE // RUN, RUN // 8


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_runs = values.size // RUN
    strip, scales = make_strip(RUN), np.empty(_PER_BLOCK, np.int32)
    best_codes = np.empty(_GROUPS * WIDTH, np.int32)
    for first in range(0, n_runs, WIDTH):
        fill_strip(strip, values, first, RUN, f32(1))
        weigh_by_importance(strip, weights)
        take_signs(strip, True)
        _search(strip, best_codes)
        finish(strip, 127)
        aborted = first_aborted(strip, n_runs - first, _PER_BLOCK)
        if aborted >= 0:
            return first // _PER_BLOCK + aborted + 1
        for lane in range(0, min(WIDTH, n_runs - first), _PER_BLOCK):
            at = TYPE_SIZE * ((first + lane) // _PER_BLOCK)
            d = put_scales(strip, lane, _PER_BLOCK, scales)
            set_half(data, at, d)
            if d != 0:
                _pack(strip, lane, scales, data[at + 2 : at + TYPE_SIZE])
            else:
                data[at + 2 : at + TYPE_SIZE] = 0
    return 0


@inner
def _search(strip: Any, best_codes: np.ndarray) -> None:
    """Fills `scale`, which may be negative, and `codes`."""
    prepare_runs(strip, ZERO_BELOW)
    best_codes[:] = 0  # Where no scale is better than none, the points 0 stay.
    zero, one = splat(0.0), splat(1.0)
    # `roots` are in `runs` by now, so their place is free.
    scale, best = _fit_to_4(strip.x, strip.weight, strip.roots), zero
    reach = scale * splat(3.0)
    store(strip.is_live, 0, select(reach <= zero, splat_int(0), load(strip.is_live, 0)))
    for step in range(-6, 8):
        # The last round is by the scale found. It is in the loop so that its code is there, and compiled, only once.
        is_last = step == 7
        inverse = one / scale if is_last else splat(f32(5) + f32(step) * f32(0.1)) / reach
        round_digits(strip, inverse)
        if is_last:
            _keep(best_codes, strip.codes, scale <= zero)
        find_points(strip, _ENTRY, _POINTS, scale if is_last else one / inverse)
        sum_x, sum_square = fit(strip)
        better = sum_square > zero
        if is_last:
            better = better & (scale > zero)
        else:
            better = better & (sum_x * sum_x > best * sum_square)
        scale = select(better, sum_x / sum_square, scale)
        best = select(better, scale * sum_x, best)
        _keep(strip.codes, best_codes, better)
    store(strip.scale, 0, scale)


@inner
def _fit_to_4(values: np.ndarray, weights: np.ndarray, numbers: np.ndarray) -> Any:
    """See iq2_xxs.fit_to_4; `numbers` is scratch."""
    zero, one = splat(0.0), splat(1.0)
    largest = zero
    for at in range(0, values.size, WIDTH):
        largest = larger(load(values, at), largest)
    is_zero = largest < splat(ZERO_BELOW)
    inverse, least = splat(f32(N_MAX)) / largest, zero
    for number in range(9):
        # Step 0 comes first, and its numbers alone may go beyond four; the others, -4 … 4, must better it.
        step = 0 if number == 0 else number - 5 if number < 5 else number - 4
        tried = splat(f32(0.1) * f32(step) + f32(N_MAX)) / largest
        scale, error = one / tried, zero
        for at in range(0, values.size, WIDTH):
            x = load(values, at)
            level = nearest(tried * x)
            level = level & splat_int(255) if step == 0 else smaller(level, splat_int(N_MAX))
            difference = x - scale * to_float(level)
            error = error + load(weights, at) * difference * difference
        better = error < least
        if step == 0:
            least = error
        else:
            least, inverse = select(better, error, least), select(better, tried, inverse)
    return select(is_zero, zero, _refined(values, weights, numbers, inverse))


@inner
def _refined(values: np.ndarray, weights: np.ndarray, numbers: np.ndarray, inverse: Any) -> Any:
    zero, low_byte, most = splat(0.0), splat_int(255), splat_int(N_MAX)
    sum_x, sum_square = zero, zero
    for at in range(0, values.size, WIDTH):
        x, weight = load(values, at), load(weights, at)
        number = smaller(nearest(inverse * x), most)
        sum_x = sum_x + weight * x * to_float(number)
        sum_square = sum_square + weight * to_float(number) * to_float(number)
        store(numbers, at, to_float(number & low_byte))
    for _ in range(5):
        for at in range(0, values.size, WIDTH):
            x, weight, number = load(values, at), load(weights, at), load(numbers, at)
            rest_x, rest_square = sum_x - weight * x * number, sum_square - weight * number * number
            wanted = smaller(nearest(x * rest_square / rest_x), most)
            moved = to_float(wanted)
            new_x, new_square = rest_x + weight * x * moved, rest_square + weight * moved * moved
            better = (rest_x > zero) & (rest_square > zero) & ((moved < number) | (moved > number))
            better = better & (new_x * new_x * sum_square > sum_x * sum_x * new_square)
            sum_x, sum_square = select(better, new_x, sum_x), select(better, new_square, sum_square)
            store(numbers, at, select(better, to_float(wanted & low_byte), number))
    return select(sum_square > zero, sum_x / sum_square, zero)


@inner
def _keep(codes: np.ndarray, kept: np.ndarray, where: Any) -> None:
    for at in range(0, codes.size, WIDTH):
        store(kept, at, select(where, load(codes, at), load(kept, at)))


@inner
def _pack(strip: Any, lane: int, scales: np.ndarray, words: np.ndarray) -> None:
    for run in range(_PER_BLOCK):
        signs = scales[run] << 28
        for group in range(_GROUPS):
            place = group * WIDTH + lane + run
            words[8 * run + group] = _ENTRY[strip.codes[place]]
            signs |= strip.signs[place] << (7 * group)
        for byte in range(4):
            words[8 * run + 4 + byte] = (signs >> (8 * byte)) & 255


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        d = get_half(blocks, TYPE_SIZE * block)
        for run in range(_PER_BLOCK):
            at = TYPE_SIZE * block + 2 + 8 * run
            word = np.int64(0)
            for byte in range(4):
                word |= np.int64(blocks[at + 4 + byte]) << (8 * byte)
            scale = d * (f32(0.5) + f32(word >> 28)) * f32(0.25)
            for group in range(_GROUPS):
                place = BLOCK_SIZE * block + RUN * run + 8 * group
                signs = EVEN_SIGNS[(word >> (7 * group)) & 127]
                decode_group(values, place, scale, _LEVELS, blocks[at + group], signs)
