"""Q6_K in machine code; the layout and what is computed are told in conversion/quants/q6_k.py."""

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
from conversion.quants.kernels.search import fill_strip, limited, make_strip, rounded
from conversion.quants.q6_k import BLOCK_SIZE, TYPE_SIZE
from conversion.quants.search import GROUP_MAX_EPS

N_MAX = 32
f32 = np.float32
_search = scale_search(rounded)


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, packed = rows.reshape(-1), out.reshape(-1)
    n_blocks = values.size // BLOCK_SIZE
    strip = make_strip(N_GROUPS, GROUP, weights.size > 0)
    for first in range(0, n_blocks, WIDTH):
        blocks = out.reshape(-1, TYPE_SIZE)[first : first + WIDTH]
        fill_strip(strip, values, weights, first, n_blocks)
        for group in range(N_GROUPS):
            _find_scale(strip, group)
        largest = largest_scale(strip)
        _put_scales(strip, blocks, largest)
        store(strip.minimum, 0, largest)
        for lane in range(len(blocks)):
            if abs(strip.minimum[lane]) < GROUP_MAX_EPS:
                blocks[lane, :] = 0
            else:
                _put_quants(strip, lane, values, packed, first + lane)
    return 0


@inner
def _find_scale(strip: Any, group: int) -> None:
    at = group * GROUP * WIDTH
    for e in range(0, GROUP * WIDTH, WIDTH):
        x = load(strip.x, at + e)
        weight = load(strip.importance, at + e) if strip.importance.size else x * x
        store(strip.weight, e, weight)
        store(strip.weight, PRODUCT + e, weight * x)
    scale, inverse = _search(strip.x, at, strip.weight, N_MAX)
    store(strip.scale, group * WIDTH, scale)
    store(strip.inverse, group * WIDTH, inverse)


@inner
def _put_scales(strip: Any, blocks: Any, largest: Any) -> None:
    """Fills the last 18 bytes of each block; `scale` becomes what a quant is multiplied by, as stored."""
    inverse = splat(-128.0) / largest
    d = put_halves(blocks, 208, splat(1.0) / inverse, strip.weight)
    for group in range(N_GROUPS):
        number = nearest(inverse * load(strip.scale, group * WIDTH))
        code = to_float(as_int8(smaller(number, splat_int(127))))
        store(strip.code, group * WIDTH, code)
        store(strip.scale, group * WIDTH, d * code)
    for lane in range(len(blocks)):
        for group in range(N_GROUPS):
            blocks[lane, 192 + group] = np.int64(strip.code[group * WIDTH + lane]) & 0xFF


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
    one, other = group * WIDTH + lane, (group + 1) * WIDTH + lane
    step = halves(strip.scale[one], strip.scale[other])
    quants = signed_quant(x, step, N_MAX)
    if strip.scale[one] == 0 or strip.scale[other] == 0:
        inverse = halves(strip.inverse[one], strip.inverse[other])
        level = nearest(limited(rounded(inverse * x), splat(-f32(N_MAX)), splat(f32(N_MAX - 1))))
        searched = select(magnitude(inverse) > splat(0.0), level + splat_int(N_MAX), splat_int(0))
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
