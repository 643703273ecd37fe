"""IQ2_S in machine code; the layout and what is computed are told in conversion/quants/iq2_s.py."""

from typing import Any

import numpy as np

from conversion.quants.iq2_s import BLOCK_SIZE, D_FACTOR, RUN, TYPE_SIZE, ZERO_BELOW
from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq2 import (
    fill_strip,
    finish,
    first_aborted,
    make_strip,
    put_scales,
    search_runs_of_16,
    take_signs,
    weigh_by_importance,
)
from conversion.quants.kernels.lanes import WIDTH, load, splat, store
from conversion.quants.kernels.lattice import decode_group, levels, tables

_ENTRY, _POINTS = tables("IQ2_S")
_LEVELS = levels("IQ2_S")
_PER_BLOCK = BLOCK_SIZE // RUN


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_runs = values.size // RUN
    strip, scales = make_strip(RUN), np.empty(_PER_BLOCK, np.int32)
    for first in range(0, n_runs, WIDTH):
        fill_strip(strip, values, first, RUN, np.float32(2))
        if weights.size:
            weigh_by_importance(strip, weights)
        else:
            _weigh_by_square(strip)
        take_signs(strip, False)
        search_runs_of_16(strip, _ENTRY, _POINTS, ZERO_BELOW)
        finish(strip, 255)
        aborted = first_aborted(strip, n_runs - first, _PER_BLOCK)
        if aborted >= 0:
            return first // _PER_BLOCK + aborted + 1
        for lane in range(0, min(WIDTH, n_runs - first), _PER_BLOCK):
            at = TYPE_SIZE * ((first + lane) // _PER_BLOCK)
            set_half(data, at, put_scales(strip, lane, _PER_BLOCK, scales) * D_FACTOR)
            _pack(strip, lane, scales, data[at : at + TYPE_SIZE])
    return 0


@inner
def _weigh_by_square(strip: Any) -> None:
    base = splat(0.25) * load(strip.power, 0)
    for at in range(0, strip.x.size, WIDTH):
        x = load(strip.x, at)
        store(strip.weight, at, base + x * x)


@inner
def _pack(strip: Any, lane: int, scales: np.ndarray, block: np.ndarray) -> None:
    block[66:74] = 0
    for run in range(_PER_BLOCK):
        for group in range(2):
            place, number = group * WIDTH + lane + run, 2 * run + group
            point = _ENTRY[strip.codes[place]]
            block[2 + number] = point & 255
            block[34 + number] = strip.signs[place]
            block[66 + number // 4] |= (point >> 8) << (2 * (number & 3))
    for pair in range(_PER_BLOCK // 2):
        block[74 + pair] = scales[2 * pair] | (scales[2 * pair + 1] << 4)


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        d = get_half(blocks, at)
        for run in range(_PER_BLOCK):
            step = (blocks[at + 74 + run // 2] >> (4 * (run & 1))) & 15
            scale = d * (np.float32(0.5) + np.float32(step)) * np.float32(0.25)
            for group in range(2 * run, 2 * run + 2):
                high = (blocks[at + 66 + group // 4] >> (2 * (group & 3))) & 3
                number = blocks[at + 2 + group] | (high << 8)
                place = BLOCK_SIZE * block + 8 * group
                decode_group(values, place, scale, _LEVELS, number, blocks[at + 34 + group])
