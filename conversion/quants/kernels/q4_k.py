"""Q4_K in machine code; the layout and what is computed are told in conversion/quants/q4_k.py."""

import numpy as np

from conversion.quants.kernels.bits import half_at
from conversion.quants.kernels.compiling import kernel
from conversion.quants.kernels.lanes import WIDTH, load, splat, splat_int, store, to_float
from conversion.quants.kernels.scales_and_minima import (
    code_groups,
    find_groups,
    offset_at,
    quants_of,
    step_at,
)
from conversion.quants.kernels.strips import fill_strip, make_strip, transposed_importance
from conversion.quants.q4_k import BLOCK_SIZE, N_MAX, TRIES, TYPE_SIZE
from conversion.quants.scales_and_minima import GROUP, N_GROUPS


@kernel
def quantize(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> int:
    values, packed = rows.reshape(-1), out.reshape(-1)
    n_blocks, n_columns = values.size // BLOCK_SIZE, rows.shape[1] // BLOCK_SIZE
    strip, table = make_strip(), transposed_importance(weights, n_blocks)
    for first in range(0, n_blocks, WIDTH):
        blocks = out.reshape(-1, TYPE_SIZE)[first : first + WIDTH]
        fill_strip(strip, values, first, n_blocks)
        importance = table[:, first % n_columns :]
        find_groups(strip, N_MAX, TRIES, importance)
        code_groups(strip, blocks, weights.size > 0)
        for lane in range(len(blocks)):
            x, q = (first + lane) * BLOCK_SIZE, (first + lane) * TYPE_SIZE + 16
            for group in range(0, N_GROUPS, 2):
                low = quants_of(strip, group, lane, load(values, x + GROUP * group), N_MAX)
                high = quants_of(strip, group + 1, lane, load(values, x + GROUP * (group + 1)), N_MAX)
                store(packed, q + 16 * group, low | (high << splat_int(4)))
    return 0


@kernel
def dequantize(data: np.ndarray, out: np.ndarray) -> None:
    packed, blocks, values = data.reshape(-1), data.reshape(-1, TYPE_SIZE), out.reshape(-1)
    for block in range(len(blocks)):
        d, dmin = half_at(blocks, block, 0), half_at(blocks, block, 2)
        for group in range(0, N_GROUPS, 2):
            quants = load(packed, block * TYPE_SIZE + 16 + 16 * group)
            x = block * BLOCK_SIZE + GROUP * group
            step, offset = step_at(blocks, block, group, d), offset_at(blocks, block, group, dmin)
            store(values, x, splat(step) * to_float(quants & splat_int(15)) - splat(offset))
            step, offset = step_at(blocks, block, group + 1, d), offset_at(blocks, block, group + 1, dmin)
            store(values, x + GROUP, splat(step) * to_float(quants >> splat_int(4)) - splat(offset))
