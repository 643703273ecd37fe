"""What the kernels of Q4_K and Q5_K share; the layout is told in conversion/quants/scales_and_minima.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import float_of_half, half_of
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lanes import (
    WIDTH,
    larger,
    load,
    magnitude,
    nearest,
    root,
    select,
    smaller,
    splat,
    splat_int,
    to_float,
)
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
    get,
    mean_square,
    put,
)
from conversion.quants.scales_and_minima import GROUP, N_GROUPS, SIX_BITS
from conversion.quants.search import WEIGHTED

f32 = np.float32
_search = scales_and_minima_search(GROUP, absolute=False)


@inner
def find_groups(strip: Any, n_max: int, tries: Any, importance: Any) -> None:
    """Scales and minima of every group, by these tries or by those that an importance matrix asks for."""
    has_importance = importance.size > 0
    power = mean_square(strip, f32(2)) if has_importance else splat(0.0)
    for group in range(N_GROUPS):
        if has_importance:
            weigh_by_importance(strip, group * GROUP, GROUP, power, importance)
        else:
            _weigh_by_size(strip, group * GROUP)
        _search(strip, group, n_max, WEIGHTED if has_importance else tries)


@inner
def weigh_by_importance(strip: Any, at: int, size: int, power: Any, importance: Any) -> None:
    for e in range(size):
        x = get(strip, X + at + e)
        put(strip, WEIGHT + e, load(importance[at + e], 0) * root(power + x * x))


@inner
def _weigh_by_size(strip: Any, at: int) -> None:
    total = splat(0.0)
    for e in range(GROUP):
        x = get(strip, X + at + e)
        total = total + x * x
    typical = root(total / splat(f32(GROUP)))
    for e in range(GROUP):
        put(strip, WEIGHT + e, typical + magnitude(get(strip, X + at + e)))


@inner
def code_groups(strip: Any, blocks: Any, has_importance: bool) -> None:
    """Fills the first 16 bytes of each block, and leaves in the rows of SCALE and MINIMUM what a quant is multiplied by
    and what is then taken off, as stored."""
    # Not one call for each: as values, not constants, the rows need only one compiled search.
    for kind in range(2):
        values, codes = SCALE + kind * MAX_GROUPS, CODE + kind * MAX_GROUPS
        if has_importance:
            put(strip, D + kind, search_positive_scales(strip, values, codes, N_GROUPS, SIX_BITS))
        else:
            put(strip, D + kind, _code(strip, values, codes))
    put_scales(strip, blocks, 0, N_GROUPS)
    for lane in range(len(blocks)):
        _pack_codes(strip, lane, blocks)


@inner
def _code(strip: Any, values: int, codes: int) -> Any:
    """The largest of the values / 63, and every value as a share of the largest, 0 … 63 (in C an uint8 first)."""
    largest = splat(0.0)
    for group in range(N_GROUPS):
        largest = larger(get(strip, values + group), largest)
    top = splat(f32(SIX_BITS))
    inverse = select(largest > splat(0.0), top / largest, splat(0.0))
    for group in range(N_GROUPS):
        number = nearest(inverse * get(strip, values + group)) & splat_int(255)
        put(strip, codes + group, to_float(smaller(number, splat_int(SIX_BITS))))
    return largest / top


@inner
def put_scales(strip: Any, blocks: Any, at: int, n_groups: int) -> None:
    """Stores d and dmin as float16 at byte `at` and `at` + 2 of each block; the rows of SCALE and MINIMUM become what a
    quant is multiplied by and what is then taken off: the codes times the scales as they are stored."""
    for kind in range(2):
        stored = put_halves(strip, D + kind, blocks, at + 2 * kind)
        for group in range(kind * MAX_GROUPS, kind * MAX_GROUPS + n_groups):
            put(strip, SCALE + group, stored * get(strip, CODE + group))


@inner
def put_halves(strip: Any, row: int, blocks: Any, at: int) -> Any:
    """Stores the values of a row as float16 in each block; the row becomes, and what comes back is, what they hold."""
    for lane in range(len(blocks)):
        value = row * WIDTH + lane
        bits = half_of(strip[value])
        strip[value] = float_of_half(bits)
        blocks[lane, at] = bits & 0xFF
        blocks[lane, at + 1] = bits >> 8
    return get(strip, row)


@inner
def _pack_codes(strip: Any, lane: int, blocks: Any) -> None:
    for i in range(4):
        low_scale = np.int64(strip[(CODE + i) * WIDTH + lane])
        high_scale = np.int64(strip[(CODE + i + 4) * WIDTH + lane])
        low_minimum = np.int64(strip[(MINIMUM_CODE + i) * WIDTH + lane])
        high_minimum = np.int64(strip[(MINIMUM_CODE + i + 4) * WIDTH + lane])
        blocks[lane, 4 + i] = (low_scale | (high_scale >> 4 << 6)) & 0xFF
        blocks[lane, 8 + i] = (low_minimum | (high_minimum >> 4 << 6)) & 0xFF
        blocks[lane, 12 + i] = (high_scale & 15) | ((high_minimum & 15) << 4)


@inner
def quants_of(strip: Any, group: int, lane: int, x: Any, n_max: int) -> Any:
    """The quants of x, the 32 elements of this group of block `lane`."""
    at = group * WIDTH + lane
    step = strip[SCALE * WIDTH + at]
    if step == 0:
        low = splat(strip[INVERSE_LOW * WIDTH + at])
        wanted = nearest(splat(strip[INVERSE * WIDTH + at]) * (x - low))
    else:
        wanted = nearest((x + splat(strip[MINIMUM * WIDTH + at])) / splat(step))
    return limited(wanted, splat_int(0), splat_int(n_max))


@inner
def step_at(blocks: Any, block: int, group: int, d: float) -> float:
    """What the quants of a group are multiplied by."""
    if group < 4:
        return d * f32(blocks[block, 4 + group] & 63)
    return d * f32((blocks[block, 8 + group] & 15) | (blocks[block, group] >> 6 << 4))


@inner
def offset_at(blocks: Any, block: int, group: int, dmin: float) -> float:
    """What is taken off the values of a group."""
    if group < 4:
        return dmin * f32(blocks[block, 8 + group] & 63)
    return dmin * f32((blocks[block, 8 + group] >> 4) | (blocks[block, 4 + group] >> 6 << 4))
