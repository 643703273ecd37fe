"""Q6_K in machine code; the layout and what is computed are told in conversion/quants/q6_k.py."""

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
    smaller,
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
    scale_search,
    signed_quant,
)
from conversion.quants.kernels.scales_and_minima import put_halves
from conversion.quants.kernels.search import limited, rounded
from conversion.quants.kernels.strips import (  # fmt: skip
    CODE,
    INVERSE,
    SCALE,
    SCRATCH,
    WEIGHT,
    D,
    X,
    fill_strip,
    get,
    make_strip,
    put,
    transposed_importance,
    two_of,
)
from conversion.quants.q6_k import BLOCK_SIZE, TYPE_SIZE
from conversion.quants.search import GROUP_MAX_EPS

N_MAX = 32
f32 = np.float32
_search = scale_search(rounded)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, packed = rows.reshape(-1), out.reshape(-1)
    n_blocks, n_columns = values.size // BLOCK_SIZE, rows.shape[1] // BLOCK_SIZE
    strip, table = make_strip(), transposed_importance(weights, n_blocks)
    for first in range(0, n_blocks, WIDTH):
        blocks = out.reshape(-1, TYPE_SIZE)[first : first + WIDTH]
        fill_strip(strip, values, first, n_blocks)
        importance = table[:, first % n_columns :]
        for group in range(N_GROUPS):
            _find_scale(strip, group, importance)
        largest = largest_scale(strip)
        _put_scales(strip, blocks, largest)
        put(strip, SCRATCH, largest)
        for lane in range(len(blocks)):
            if abs(strip[SCRATCH * WIDTH + lane]) < GROUP_MAX_EPS:
                blocks[lane, :] = 0
            else:
                _put_quants(strip, lane, values, packed, first + lane)
    return 0


@inner
def _find_scale(strip: Any, group: int, importance: Any) -> None:
    at = group * GROUP
    for e in range(GROUP):
        x = get(strip, X + at + e)
        weight = load(importance[at + e], 0) if importance.size else x * x
        put(strip, WEIGHT + e, weight)
        put(strip, PRODUCT + e, weight * x)
    scale, inverse = _search(strip, X + at, N_MAX)
    put(strip, SCALE + group, scale)
    put(strip, INVERSE + group, inverse)


@inner
def _put_scales(strip: Any, blocks: Any, largest: Any) -> None:
    """Fills the last 18 bytes of each block; the rows of SCALE become what a quant is multiplied by, as stored."""
    inverse = splat(-128.0) / largest
    put(strip, D, splat(1.0) / inverse)
    d = put_halves(strip, D, blocks, 208)
    for group in range(N_GROUPS):
        number = nearest(inverse * get(strip, SCALE + group))
        code = to_float(as_int8(smaller(number, splat_int(127))))
        put(strip, CODE + group, code)
        put(strip, SCALE + group, d * code)
    for lane in range(len(blocks)):
        for group in range(N_GROUPS):
            blocks[lane, 192 + group] = np.int64(strip[(CODE + group) * WIDTH + lane]) & 0xFF


@inner
def _put_quants(strip: Any, lane: int, values: Any, packed: Any, block: int) -> None:
    nibble, two, four, six = splat_int(15), splat_int(2), splat_int(4), splat_int(6)
    for half in range(2):
        x, group, at = block * BLOCK_SIZE + 128 * half, 8 * half, block * TYPE_SIZE
        one = _quants_of(strip, group, lane, load(values, x))
        two_ = _quants_of(strip, group + 2, lane, load(values, x + 32))
        three = _quants_of(strip, group + 4, lane, load(values, x + 64))
        four_ = _quants_of(strip, group + 6, lane, load(values, x + 96))
        store(packed, at + 64 * half, (one & nibble) | ((three & nibble) << four))
        store(packed, at + 64 * half + 32, (two_ & nibble) | ((four_ & nibble) << four))
        high = (one >> four) | (two_ >> four << two) | (three >> four << four) | (four_ >> four << six)
        store(packed, at + 128 + 32 * half, high)


@inner
def _quants_of(strip: Any, group: int, lane: int, x: Any) -> Any:
    """The quants of x, 32 elements of block `lane`: those of `group` and of the next."""
    step = two_of(strip, SCALE + group, lane)
    quants = signed_quant(x, step, N_MAX)
    if is_any(step == splat(0.0)):
        inverse = two_of(strip, INVERSE + group, lane)
        level = nearest(limited(rounded(inverse * x), splat(-f32(N_MAX)), splat(f32(N_MAX - 1))))
        searched = select(inverse == splat(0.0), splat_int(0), level + splat_int(N_MAX))
        quants = select(step == splat(0.0), searched, quants)
    return quants


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    packed, blocks, values = data.reshape(-1), data.reshape(-1, TYPE_SIZE), out.reshape(-1)
    nibble, two_bits, four = splat_int(15), splat_int(3), splat_int(4)
    for block in range(len(blocks)):
        d = half_at(blocks, block, 208)
        for half in range(2):
            x, at = block * BLOCK_SIZE + 128 * half, block * TYPE_SIZE
            high = load(packed, at + 128 + 32 * half)
            for run in range(4):
                low = load(packed, at + 64 * half + 32 * (run % 2)) >> splat_int(4 * (run // 2)) & nibble
                levels = (low | (high >> splat_int(2 * run) & two_bits) << four) - splat_int(N_MAX)
                group = 192 + 8 * half + 2 * run
                one, other = np.int8(blocks[block, group]), np.int8(blocks[block, group + 1])
                store(values, x + 32 * run, halves(d * f32(one), d * f32(other)) * to_float(levels))
