"""IQ2_XS in machine code; the layout and what is computed are told in conversion/quants/iq2_xs.py."""

import numpy as np

from conversion.quants.iq2_xs import BLOCK_SIZE, RUN, TYPE_SIZE, ZERO_BELOW
from conversion.quants.kernels.bits import get_half, set_half
from conversion.quants.kernels.compiling import kernel
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
from conversion.quants.kernels.lanes import WIDTH
from conversion.quants.kernels.lattice import decode_group, levels, tables
from conversion.quants.lattice import EVEN_SIGNS

_ENTRY, _POINTS = tables("IQ2_XS")
_LEVELS = levels("IQ2_XS")
_PER_BLOCK = BLOCK_SIZE // RUN


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, data = rows.reshape(-1), out.reshape(-1)
    n_runs = values.size // RUN
    strip, scales = make_strip(RUN), np.empty(_PER_BLOCK, np.int32)
    for first in range(0, n_runs, WIDTH):
        fill_strip(strip, values, first, RUN, np.float32(1))
        weigh_by_importance(strip, weights)
        take_signs(strip, True)
        search_runs_of_16(strip, _ENTRY, _POINTS, ZERO_BELOW)
        finish(strip, 127)
        aborted = first_aborted(strip, n_runs - first, _PER_BLOCK)
        if aborted >= 0:
            return first // _PER_BLOCK + aborted + 1
        for lane in range(0, min(WIDTH, n_runs - first), _PER_BLOCK):
            at = TYPE_SIZE * ((first + lane) // _PER_BLOCK)
            d = put_scales(strip, lane, _PER_BLOCK, scales)
            set_half(data, at, d)
            for run in range(_PER_BLOCK):
                for group in range(2):
                    place = group * WIDTH + lane + run
                    code = _ENTRY[strip.codes[place]] | (strip.signs[place] << 9)
                    code = code if d != 0 else 0
                    data[at + 2 + 4 * run + 2 * group] = code & 255
                    data[at + 3 + 4 * run + 2 * group] = code >> 8
            for pair in range(_PER_BLOCK // 2):
                data[at + 66 + pair] = scales[2 * pair] | (scales[2 * pair + 1] << 4)
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    blocks, values = data.reshape(-1), out.reshape(-1)
    for block in range(values.size // BLOCK_SIZE):
        at = TYPE_SIZE * block
        d = get_half(blocks, at)
        for run in range(_PER_BLOCK):
            step = (blocks[at + 66 + run // 2] >> (4 * (run & 1))) & 15
            scale = d * (np.float32(0.5) + np.float32(step)) * np.float32(0.25)
            for group in range(2 * run, 2 * run + 2):
                low, high = blocks[at + 2 + 2 * group], blocks[at + 3 + 2 * group]
                number = low | ((high & 1) << 8)
                place = BLOCK_SIZE * block + 8 * group
                decode_group(values, place, scale, _LEVELS, number, EVEN_SIGNS[high >> 1])
