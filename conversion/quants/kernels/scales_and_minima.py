"""What the kernels of Q4_K and Q5_K share; the layout is told in conversion/quants/scales_and_minima.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import float_of_half, half_of
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.lanes import (
    WIDTH,
    larger,
    magnitude,
    nearest,
    root,
    select,
    smaller,
    splat,
    splat_int,
    to_float,
)
from conversion.quants.kernels.search import (
    CODE,
    IMPORTANCE,
    INVERSE,
    INVERSE_LOW,
    MINIMUM,
    MINIMUM_CODE,
    SCALE,
    SCRATCH,
    WEIGHT,
    X,
    get,
    limited,
    mean_square,
    put,
    scales_and_minima_search,
    search_positive_scales,
)  # fmt: skip
from conversion.quants.scales_and_minima import GROUP, N_GROUPS, SIX_BITS
from conversion.quants.search import WEIGHTED

f32 = np.float32
_search = scales_and_minima_search(GROUP, absolute=False)


@inner
def find_groups(strip: Any, n_max: int, tries: Any, has_importance: bool) -> None:
    """Scales and minima of every group, by these tries or by those that an importance matrix asks for."""
    power = mean_square(strip, f32(2)) if has_importance else splat(0.0)
    for group in range(N_GROUPS):
        if has_importance:
            weigh_by_importance(strip, group * GROUP, GROUP, power)
        else:
            _weigh_by_size(strip, group * GROUP)
        _search(strip, group, n_max, WEIGHTED if has_importance else tries)


@inner
def weigh_by_importance(strip: Any, at: int, size: int, power: Any) -> None:
    for e in range(size):
        x = get(strip, X + at + e)
        put(strip, WEIGHT + e, get(strip, IMPORTANCE + at + e) * root(power + x * x))


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
    if has_importance:
        d = search_positive_scales(strip, SCALE, CODE, N_GROUPS, SIX_BITS)
        dmin = search_positive_scales(strip, MINIMUM, MINIMUM_CODE, N_GROUPS, SIX_BITS)
    else:
        d, dmin = _code(strip, SCALE, CODE), _code(strip, MINIMUM, MINIMUM_CODE)
    put_scales(strip, blocks, 0, N_GROUPS, (d, dmin))
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
def put_scales(strip: Any, blocks: Any, at: int, n_groups: int, scales: Any) -> None:
    """Stores d and dmin as float16 at byte `at` and `at` + 2 of each block; the rows of SCALE and MINIMUM become what a
    quant is multiplied by and what is then taken off: the codes times the scales as they are stored."""
    d, dmin = scales
    stored, stored_min = put_halves(strip, blocks, at, d), put_halves(strip, blocks, at + 2, dmin)
    for group in range(n_groups):
        put(strip, SCALE + group, stored * get(strip, CODE + group))
        put(strip, MINIMUM + group, stored_min * get(strip, MINIMUM_CODE + group))


@inner
def put_halves(strip: Any, blocks: Any, at: int, values: Any) -> Any:
    """Stores one value as float16 in each block; gives back the values as float16 has them."""
    put(strip, SCRATCH, values)
    for lane in range(len(blocks)):
        value = SCRATCH * WIDTH + lane
        bits = half_of(strip[value])
        strip[value] = float_of_half(bits)
        blocks[lane, at] = bits & 0xFF
        blocks[lane, at + 1] = bits >> 8
    return get(strip, SCRATCH)


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
