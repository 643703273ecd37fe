"""Q3_K in machine code; the layout and what is computed are told in conversion/quants/q3_k.py."""

from typing import Any

import numpy as np

from conversion.quants.kernels.bits import half_at
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.lanes import (
    WIDTH,
    halves,
    is_any,
    load,
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
from conversion.quants.kernels.search import limited, rounded
from conversion.quants.kernels.strips import (  # fmt: skip
    CODE,
    GROUP_WEIGHT,
    LEVEL,
    SCALE,
    SCRATCH,
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
from conversion.quants.q3_k import BLOCK_SIZE, N_MAX, TYPE_SIZE

f32 = np.float32
_search = scale_search(rounded)
_search_scales_of_scales = scale_search(nearest_as_float)


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
            put(strip, D, _find_weighted_scales(strip, importance))
        else:
            put(strip, D, _find_scales(strip))
        _put_scales(strip, blocks)
        for lane in range(len(blocks)):
            _put_quants(strip, lane, values, packed, first + lane)
    return 0


@inner
def _find_scales(strip: Any) -> Any:
    """What the codes of the scales are multiplied by; fills the rows of CODE (scale + 32) and LEVEL."""
    for group in range(N_GROUPS):
        put(strip, SCALE + group, refine_scale(strip, group, N_MAX))
    zero, largest = splat(0.0), largest_scale(strip)
    inverse = splat(-32.0) / largest
    for group in range(N_GROUPS):
        number = as_int8(nearest(inverse * get(strip, SCALE + group)))
        code = to_float(limited(number, splat_int(-32), splat_int(31)) + splat_int(32))
        put(strip, CODE + group, select(largest == zero, zero, code))
    return select(largest == zero, zero, splat(1.0) / inverse)


@inner
def _find_weighted_scales(strip: Any, importance: Any) -> Any:
    """As `_find_scales`, with an importance matrix."""
    power = mean_square(strip, f32(2))
    for group in range(N_GROUPS):
        at = group * GROUP
        weigh_by_importance(strip, at, GROUP, power, importance)
        total = splat(0.0)
        for e in range(GROUP):
            weight = get(strip, WEIGHT + e)
            total = total + weight
            put(strip, PRODUCT + e, weight * get(strip, X + at + e))
        scale, inverse = _search(strip, X + at, N_MAX)
        for e in range(at, at + GROUP):
            put(strip, LEVEL + e, _raised(rounded(inverse * get(strip, X + e)), inverse, N_MAX))
        put(strip, GROUP_WEIGHT + group, total)
        put(strip, SCALE + group, scale)
    return _code_scales(strip)


@inner
def _code_scales(strip: Any) -> Any:
    for group in range(N_GROUPS):
        weight = get(strip, GROUP_WEIGHT + group)
        put(strip, WEIGHT + group, weight)
        put(strip, PRODUCT + group, weight * get(strip, SCALE + group))
    d, inverse = _search_scales_of_scales(strip, SCALE, 32)
    for group in range(N_GROUPS):
        number = nearest_as_float(inverse * get(strip, SCALE + group))
        put(strip, CODE + group, _raised(number, inverse, 32))
    return d


@inner
def _raised(number: Any, inverse: Any, n_max: int) -> Any:
    """Quants from 0 on; 0 for all-zero groups, which have no inverse."""
    quant = limited(number, splat(-f32(n_max)), splat(f32(n_max - 1))) + splat(f32(n_max))
    return select(inverse == splat(0.0), splat(0.0), quant)


@inner
def _put_scales(strip: Any, blocks: Any) -> None:
    """Fills the last 14 bytes of each block; the rows of SCALE become what a quant is multiplied by, as stored."""
    stored = put_halves(strip, D, blocks, 108)
    for group in range(N_GROUPS):
        put(strip, SCALE + group, stored * (get(strip, CODE + group) - splat(32.0)))
    for lane in range(len(blocks)):
        blocks[lane, 96:108] = 0
        for group in range(N_GROUPS):
            code = np.int64(strip[(CODE + group) * WIDTH + lane])
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
    step = two_of(strip, SCALE + group, lane)
    quants = signed_quant(x, step, N_MAX)
    if is_any(step == splat(0.0)):
        for e in range(WIDTH):
            strip[SCRATCH * WIDTH + e] = strip[(LEVEL + group * GROUP + e) * WIDTH + lane]
        quants = select(step == splat(0.0), nearest(get(strip, SCRATCH)), quants)
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
