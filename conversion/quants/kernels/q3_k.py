"""Q3_K in machine code; the layout and what is computed are told in conversion/quants/q3_k.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import half_at
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.lanes import (
    WIDTH,
    halves,
    load,
    magnitude,
    nearest,
    select,
    splat,
    splat_int,
    store,
    to_float,
)
from conversion.quants.kernels.scales import (
    GROUP,
    N_GROUPS,
    PRODUCT,
    as_int8,
    largest_scale,
    nearest_as_float,
    refine_scale,
    scale_search,
    signed_quant,
)
from conversion.quants.kernels.scales_and_minima import put_halves, weigh_by_importance
from conversion.quants.kernels.search import fill_strip, limited, make_strip, mean_square, rounded
from conversion.quants.q3_k import BLOCK_SIZE, N_MAX, TYPE_SIZE

f32 = np.float32
_search = scale_search(rounded)
_search_scales_of_scales = scale_search(nearest_as_float)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, packed = rows.reshape(-1), out.reshape(-1)
    n_blocks = values.size // BLOCK_SIZE
    strip = make_strip(N_GROUPS, BLOCK_SIZE, weights.size > 0)
    for first in range(0, n_blocks, WIDTH):
        blocks = out.reshape(-1, TYPE_SIZE)[first : first + WIDTH]
        fill_strip(strip, values, weights, first, n_blocks)
        d = _find_weighted_scales(strip) if weights.size else _find_scales(strip)
        _put_scales(strip, blocks, d)
        for lane in range(len(blocks)):
            _put_quants(strip, lane, values, packed, first + lane)
    return 0


@inner
def _find_scales(strip: Any) -> Any:
    """What the codes of the scales are multiplied by; fills `code` (scale + 32) and `level`."""
    for group in range(N_GROUPS):
        store(strip.scale, group * WIDTH, refine_scale(strip, group, N_MAX))
    zero, largest = splat(0.0), largest_scale(strip)
    inverse = splat(-32.0) / largest
    for group in range(N_GROUPS):
        number = as_int8(nearest(inverse * load(strip.scale, group * WIDTH)))
        code = to_float(limited(number, splat_int(-32), splat_int(31)) + splat_int(32))
        store(strip.code, group * WIDTH, select(largest == zero, zero, code))
    return select(largest == zero, zero, splat(1.0) / inverse)


@inner
def _find_weighted_scales(strip: Any) -> Any:
    """As `_find_scales`, with an importance matrix."""
    power = mean_square(strip, f32(2))
    for group in range(N_GROUPS):
        at, row = group * GROUP * WIDTH, group * WIDTH
        weigh_by_importance(strip, group * GROUP, GROUP, power)
        total = splat(0.0)
        for e in range(0, GROUP * WIDTH, WIDTH):
            weight = load(strip.weight, e)
            total = total + weight
            store(strip.weight, PRODUCT + e, weight * load(strip.x, at + e))
        scale, inverse = _search(strip.x, at, strip.weight, N_MAX)
        for e in range(at, at + GROUP * WIDTH, WIDTH):
            number = rounded(inverse * load(strip.x, e))
            store(strip.level, e, _raised(number, inverse, N_MAX))
        store(strip.group_weight, row, total)
        store(strip.scale, row, scale)
    return _code_scales(strip)


@inner
def _code_scales(strip: Any) -> Any:
    for row in range(0, N_GROUPS * WIDTH, WIDTH):
        weight = load(strip.group_weight, row)
        store(strip.weight, row, weight)
        store(strip.weight, PRODUCT + row, weight * load(strip.scale, row))
    d, inverse = _search_scales_of_scales(strip.scale, 0, strip.weight, 32)
    for row in range(0, N_GROUPS * WIDTH, WIDTH):
        number = nearest_as_float(inverse * load(strip.scale, row))
        store(strip.code, row, _raised(number, inverse, 32))
    return d


@inner
def _raised(number: Any, inverse: Any, n_max: int) -> Any:
    """Quants from 0 on; 0 for all-zero groups, which have no inverse."""
    quant = limited(number, splat(-f32(n_max)), splat(f32(n_max - 1))) + splat(f32(n_max))
    return select(magnitude(inverse) == splat(0.0), splat(0.0), quant)


@inner
def _put_scales(strip: Any, blocks: Any, d: Any) -> None:
    """Fills the last 14 bytes of each block; `scale` becomes what a quant is multiplied by, as stored."""
    stored = put_halves(blocks, 108, d, strip.weight)
    for row in range(0, N_GROUPS * WIDTH, WIDTH):
        store(strip.scale, row, stored * (load(strip.code, row) - splat(32.0)))
    for lane in range(len(blocks)):
        blocks[lane, 96:108] = 0
        for group in range(N_GROUPS):
            code = np.int64(strip.code[group * WIDTH + lane])
            blocks[lane, 96 + group % 8] |= (code & 15) << (4 * (group // 8))
            blocks[lane, 104 + group % 4] |= (code >> 4) << (2 * (group // 4))


@inner
def _put_quants(strip: Any, lane: int, values: Any, packed: Any, block: int) -> None:
    at, third_bits = block * TYPE_SIZE, splat_int(0)
    for half in range(2):
        bits = splat_int(0)
        for run in range(4):
            x = load(values, block * BLOCK_SIZE + 128 * half + 32 * run)
            quants = _quants_of(strip, 8 * half + 2 * run, lane, x)
            bits = bits | ((quants & splat_int(3)) << splat_int(2 * run))
            third_bits = third_bits | ((quants >> splat_int(2)) << splat_int(4 * half + run))
        store(packed, at + 32 + 32 * half, bits)
    store(packed, at, third_bits)


@inner
def _quants_of(strip: Any, group: int, lane: int, x: Any) -> Any:
    """The quants of x, 32 elements of block `lane`: those of `group` and of the next."""
    one, other = group * WIDTH + lane, (group + 1) * WIDTH + lane
    step = halves(strip.scale[one], strip.scale[other])
    quants = signed_quant(x, step, N_MAX)
    if strip.scale[one] == 0 or strip.scale[other] == 0:
        for e in range(WIDTH):
            strip.weight[e] = strip.level[(group * GROUP + e) * WIDTH + lane]
        quants = select(step == splat(0.0), nearest(load(strip.weight, 0)), quants)
    return quants


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    packed, blocks, values = data.reshape(-1), data.reshape(-1, TYPE_SIZE), out.reshape(-1)
    for block in range(len(blocks)):
        d = half_at(blocks, block, 108)
        third_bits = load(packed, block * TYPE_SIZE)
        for half in range(2):
            bits = load(packed, block * TYPE_SIZE + 32 + 32 * half)
            for run in range(4):
                group = 8 * half + 2 * run
                step = halves(_step_at(blocks, block, group, d), _step_at(blocks, block, group + 1, d))
                high = (third_bits >> splat_int(4 * half + run) & splat_int(1)) << splat_int(2)
                levels = ((bits >> splat_int(2 * run) & splat_int(3)) | high) - splat_int(N_MAX)
                store(values, block * BLOCK_SIZE + 128 * half + 32 * run, step * to_float(levels))


@inner
def _step_at(blocks: Any, block: int, group: int, d: float) -> float:
    low = blocks[block, 96 + group % 8] >> (4 * (group // 8)) & 15
    high = blocks[block, 104 + group % 4] >> (2 * (group // 4)) & 3
    return d * f32(np.int64(low | high << 4) - 32)
