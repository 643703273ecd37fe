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
    store,
    to_float,
)
from conversion.quants.kernels.search import (
    limited,
    mean_square,
    scales_and_minima_search,
    search_positive_scales,
)
from conversion.quants.scales_and_minima import GROUP, N_GROUPS, SIX_BITS
from conversion.quants.search import WEIGHTED

f32 = np.float32
_search = scales_and_minima_search(GROUP, absolute=False)


@inner
def find_groups(strip: Any, n_max: int, tries: Any) -> None:
    """Scales and minima of every group, by these tries or by those that an importance matrix asks for."""
    has_importance = strip.importance.size > 0
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
        x = load(strip.x, (at + e) * WIDTH)
        store(strip.weight, e * WIDTH, load(strip.importance, (at + e) * WIDTH) * root(power + x * x))


@inner
def _weigh_by_size(strip: Any, at: int) -> None:
    total = splat(0.0)
    for e in range(GROUP):
        x = load(strip.x, (at + e) * WIDTH)
        total = total + x * x
    typical = root(total / splat(f32(GROUP)))
    for e in range(GROUP):
        store(strip.weight, e * WIDTH, typical + magnitude(load(strip.x, (at + e) * WIDTH)))


@inner
def code_groups(strip: Any, blocks: Any) -> None:
    """Fills the first 16 bytes of each block, and leaves in `scale` and `minimum` what a quant is multiplied by, and
    what is then taken off, as stored."""
    if strip.importance.size:
        d = search_positive_scales(strip.scale, strip.group_weight, strip.code, SIX_BITS)
        dmin = search_positive_scales(strip.minimum, strip.group_weight, strip.minimum_code, SIX_BITS)
    else:
        d, dmin = _code(strip.scale, strip.code), _code(strip.minimum, strip.minimum_code)
    put_scales(strip, blocks, 0, d, dmin)
    for lane in range(len(blocks)):
        _pack_codes(strip, lane, blocks)


@inner
def _code(values: Any, codes: Any) -> Any:
    """The largest of the values / 63, and every value as a share of the largest, 0 … 63 (in C an uint8 first)."""
    largest = splat(0.0)
    for group in range(N_GROUPS):
        largest = larger(load(values, group * WIDTH), largest)
    top = splat(f32(SIX_BITS))
    inverse = select(largest > splat(0.0), top / largest, splat(0.0))
    for group in range(N_GROUPS):
        number = nearest(inverse * load(values, group * WIDTH)) & splat_int(255)
        store(codes, group * WIDTH, to_float(smaller(number, splat_int(SIX_BITS))))
    return largest / top


@inner
def put_scales(strip: Any, blocks: Any, at: int, d: Any, dmin: Any) -> None:
    """Stores d and dmin as float16 at byte `at` and `at` + 2 of each block; `scale` and `minimum` become what a quant
    is multiplied by and what is then taken off: the codes times the scales as they are stored."""
    stored, stored_min = (
        put_halves(blocks, at, d, strip.weight),
        put_halves(blocks, at + 2, dmin, strip.weight),
    )
    for row in range(0, strip.scale.size, WIDTH):
        store(strip.scale, row, stored * load(strip.code, row))
        store(strip.minimum, row, stored_min * load(strip.minimum_code, row))


@inner
def put_halves(blocks: Any, at: int, values: Any, scratch: Any) -> Any:
    """Stores one value as float16 in each block; gives back the values as float16 has them."""
    store(scratch, 0, values)
    for lane in range(len(blocks)):
        bits = half_of(scratch[lane])
        scratch[lane] = float_of_half(bits)
        blocks[lane, at] = bits & 0xFF
        blocks[lane, at + 1] = bits >> 8
    return load(scratch, 0)


@inner
def _pack_codes(strip: Any, lane: int, blocks: Any) -> None:
    for i in range(4):
        low_scale = np.int64(strip.code[i * WIDTH + lane])
        high_scale = np.int64(strip.code[(i + 4) * WIDTH + lane])
        low_minimum = np.int64(strip.minimum_code[i * WIDTH + lane])
        high_minimum = np.int64(strip.minimum_code[(i + 4) * WIDTH + lane])
        blocks[lane, 4 + i] = (low_scale | (high_scale >> 4 << 6)) & 0xFF
        blocks[lane, 8 + i] = (low_minimum | (high_minimum >> 4 << 6)) & 0xFF
        blocks[lane, 12 + i] = (high_scale & 15) | ((high_minimum & 15) << 4)


@inner
def quants_of(strip: Any, group: int, lane: int, x: Any, n_max: int) -> Any:
    """The quants of x, the 32 elements of this group of block `lane`."""
    row = group * WIDTH + lane
    step = strip.scale[row]
    if step == 0:
        wanted = nearest(splat(strip.inverse[row]) * (x - splat(strip.inverse_low[row])))
    else:
        wanted = nearest((x + splat(strip.minimum[row])) / splat(step))
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
