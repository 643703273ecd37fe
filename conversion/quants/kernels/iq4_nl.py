"""The kernels of IQ4_NL: the numpy code's bytes."""

from typing import Any

import numpy as np

from conversion.quants.iq4_nl import TYPE_SIZE
from conversion.quants.kernels.bits import half_at, put_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq4 import GROUP, LANES, N_ROWS, SCALE, decode, load, search, write

_DOUBLED_MEAN = np.float32(2.0 / GROUP)


@kernel
def quantize(rows: Any, weights: Any, out: Any) -> int:
    groups, blocks = rows.reshape(-1, GROUP), out.reshape(-1, TYPE_SIZE)
    scratch = np.zeros(N_ROWS * LANES, dtype=np.float32)
    for first in range(0, len(blocks), LANES):
        n_lanes = min(LANES, len(blocks) - first)
        for lane in range(n_lanes):
            at = (first + lane) * GROUP % rows.shape[1]
            group, group_weights = groups[first + lane], weights[at : at + GROUP]
            power = _power(group) if group_weights.size else np.float32(0)
            load(scratch[lane:], group, group_weights, power)
        search(scratch)
        for lane in range(n_lanes):
            scale = scratch[SCALE * LANES + lane]
            put_half(blocks, first + lane, 0, scale)
            write(groups[first + lane], scale, blocks[first + lane, 2:])
    return 0


@inner
def _power(group: Any) -> float:
    total = np.float32(0)
    for j in range(GROUP):
        total += group[j] * group[j]
    return total * _DOUBLED_MEAN


@kernel
def dequantize(data: Any, out: Any) -> None:
    blocks, groups = data.reshape(-1, TYPE_SIZE), out.reshape(-1, GROUP)
    for block in range(len(blocks)):
        decode(blocks[block, 2:], half_at(blocks, block, 0), groups[block])
