"""Q2_K in machine code; the layout and what is computed are told in conversion/quants/q2_k.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import half_at
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.lanes import (
    WIDTH,
    halves,
    is_any,
    larger,
    load,
    magnitude,
    nearest,
    select,
    splat,
    splat_int,
    store,
    to_float,
)
from conversion.quants.kernels.scales_and_minima import put_scales, weigh_by_importance
from conversion.quants.kernels.search import limited, scales_and_minima_search, search_positive_scales
from conversion.quants.kernels.strips import (  # fmt: skip
    CODE,
    INVERSE,
    INVERSE_LOW,
    MAX_GROUPS,
    MINIMUM,
    MINIMUM_CODE,
    SCALE,
    WEIGHT,
    D,
    X,
    fill_strip,
    get,
    make_strip,
    mean_square,
    put,
    transposed_importance,
    two_of,
)
from conversion.quants.q2_k import BLOCK_SIZE, FOUR_BITS, GROUP, N_GROUPS, N_MAX, TRIES, TYPE_SIZE
from conversion.quants.search import WEIGHTED

f32 = np.float32
_search_by_absolute_error = scales_and_minima_search(GROUP, absolute=True)
_search_by_squared_error = scales_and_minima_search(GROUP, absolute=False)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, packed = rows.reshape(-1), out.reshape(-1)
    n_blocks, n_columns = values.size // BLOCK_SIZE, rows.shape[1] // BLOCK_SIZE
    strip, table = make_strip(), transposed_importance(weights, n_blocks)
    for first in range(0, n_blocks, WIDTH):
        blocks = out.reshape(-1, TYPE_SIZE)[first : first + WIDTH]
        fill_strip(strip, values, first, n_blocks)
        importance = table[:, first % n_columns :]
        if weights.size:
            _find_weighted_groups(strip, importance)
        else:
            _find_groups(strip)
        _code_groups(strip, weights.size > 0)
        _put_codes(strip, blocks)
        put_scales(strip, blocks, 80, N_GROUPS)
        for lane in range(len(blocks)):
            for half in range(2):
                x = (first + lane) * BLOCK_SIZE + 128 * half
                bits = splat_int(0)
                for run in range(4):
                    quants = _quants_of(strip, 8 * half + 2 * run, lane, load(values, x + 32 * run))
                    bits = bits | (quants << splat_int(2 * run))
                store(packed, (first + lane) * TYPE_SIZE + 16 + 32 * half, bits)
    return 0


@inner
def _find_groups(strip: Any) -> None:
    for group in range(N_GROUPS):
        for e in range(GROUP):
            put(strip, WEIGHT + e, magnitude(get(strip, X + group * GROUP + e)))
        _search_by_absolute_error(strip, group, N_MAX, TRIES)


@inner
def _find_weighted_groups(strip: Any, importance: Any) -> None:
    power = mean_square(strip, f32(1))
    for group in range(N_GROUPS):
        weigh_by_importance(strip, group * GROUP, GROUP, power, importance)
        _search_by_squared_error(strip, group, N_MAX, WEIGHTED)


@inner
def _code_groups(strip: Any, has_importance: bool) -> None:
    for kind in range(2):
        values, codes = SCALE + kind * MAX_GROUPS, CODE + kind * MAX_GROUPS
        if has_importance:
            put(strip, D + kind, search_positive_scales(strip, values, codes, N_GROUPS, FOUR_BITS))
        else:
            put(strip, D + kind, _code(strip, values, codes))


@inner
def _code(strip: Any, values: int, codes: int) -> Any:
    """The largest of the values / 15, and every value as a share of the largest, as C's uint8 keeps it."""
    largest, top, zero = splat(0.0), splat(f32(FOUR_BITS)), splat(0.0)
    for group in range(N_GROUPS):
        largest = larger(get(strip, values + group), largest)
    inverse = top / largest
    for group in range(N_GROUPS):
        code = to_float(nearest(inverse * get(strip, values + group)) & splat_int(255))
        put(strip, codes + group, select(largest > zero, code, zero))
    return largest / top


@inner
def _put_codes(strip: Any, blocks: Any) -> None:
    """Stores scales and minima in the two nibbles of a byte each, and keeps of both what the byte keeps."""
    for lane in range(len(blocks)):
        for group in range(N_GROUPS):
            one, other = (CODE + group) * WIDTH + lane, (MINIMUM_CODE + group) * WIDTH + lane
            code = (np.int64(strip[one]) | (np.int64(strip[other]) << 4)) & 0xFF
            blocks[lane, group] = code
            strip[one], strip[other] = f32(code & 15), f32(code >> 4)


@inner
def _quants_of(strip: Any, group: int, lane: int, x: Any) -> Any:
    """The quants of x, 32 elements of block `lane`: those of `group` and of the next."""
    step = two_of(strip, SCALE + group, lane)
    wanted = nearest((x + two_of(strip, MINIMUM + group, lane)) / step)
    if is_any(step == splat(0.0)):
        low, inverse = two_of(strip, INVERSE_LOW + group, lane), two_of(strip, INVERSE + group, lane)
        wanted = select(step == splat(0.0), nearest(inverse * (x - low)), wanted)
    return limited(wanted, splat_int(0), splat_int(N_MAX))


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    packed, blocks, values = data.reshape(-1), data.reshape(-1, TYPE_SIZE), out.reshape(-1)
    for block in range(len(blocks)):
        d, dmin = half_at(blocks, block, 80), half_at(blocks, block, 82)
        for half in range(2):
            bits = load(packed, block * TYPE_SIZE + 16 + 32 * half)
            for run in range(4):
                one, other = blocks[block, 8 * half + 2 * run], blocks[block, 8 * half + 2 * run + 1]
                step = halves(d * f32(one & 15), d * f32(other & 15))
                offset = halves(dmin * f32(one >> 4), dmin * f32(other >> 4))
                levels = to_float((bits >> splat_int(2 * run)) & splat_int(3))
                store(values, block * BLOCK_SIZE + 128 * half + 32 * run, step * levels - offset)
