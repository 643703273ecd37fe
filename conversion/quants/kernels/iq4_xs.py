"""The kernels of IQ4_XS: the numpy code's bytes."""

from typing import Any

import numpy as np

from conversion.quants.iq4_xs import BLOCK_SIZE, N_GROUPS, TYPE_SIZE
from conversion.quants.kernels.bits import half_at, put_half
from conversion.quants.kernels.compiling import inner, kernel
from conversion.quants.kernels.iq4 import (
    GROUP,
    LANES,
    N_ROWS,
    SCALE,
    decode,
    inverse_or_zero,
    load,
    search,
    write,
)
from conversion.quants.kernels.lattice import nearest as nearest_int

_BLOCKS = LANES // N_GROUPS  # worked on at once: each group in a lane of its own
_DOUBLED_MEAN = np.float32(2.0 / BLOCK_SIZE)


@kernel
def quantize(rows: Any, weights: Any, out: Any) -> int:
    groups, blocks = rows.reshape(-1, GROUP), out.reshape(-1, TYPE_SIZE)
    scratch = np.zeros(N_ROWS * LANES, dtype=np.float32)
    powers = np.zeros(_BLOCKS, dtype=np.float32)
    for first in range(0, len(blocks), _BLOCKS):
        n_blocks = min(_BLOCKS, len(blocks) - first)
        if weights.size:
            _find_powers(rows.reshape(-1, BLOCK_SIZE)[first : first + n_blocks], powers)
        for lane in range(n_blocks * N_GROUPS):
            group = first * N_GROUPS + lane
            at = group * GROUP % rows.shape[1]
            load(scratch[lane:], groups[group], weights[at : at + GROUP], powers[lane // N_GROUPS])
        search(scratch)
        for block in range(n_blocks):
            scales = scratch[SCALE * LANES + block * N_GROUPS :]
            _write_block(
                groups[(first + block) * N_GROUPS :], scales, blocks[first + block : first + block + 1]
            )
    return 0


@inner
def _find_powers(blocks: Any, powers: Any) -> None:
    """The doubled mean square of a few blocks. A sum in order mostly waits; several at a time fill the pauses."""
    powers[:] = np.float32(0)
    for i in range(BLOCK_SIZE):
        for block in range(len(blocks)):
            powers[block] += blocks[block, i] * blocks[block, i]
    for block in range(len(blocks)):
        powers[block] *= _DOUBLED_MEAN


@inner
def _write_block(groups: Any, scales: Any, out: Any) -> None:
    """Fills `out`, uint8 (1, TYPE_SIZE), from 8 groups and the scales found for them."""
    largest = np.float32(0)
    for group in range(N_GROUPS):
        largest = scales[group] if abs(scales[group]) > abs(largest) else largest
    d = -largest / np.float32(32)
    put_half(out, 0, 0, d)
    out[0, 2:8] = 0
    inverse = inverse_or_zero(d)
    for group in range(N_GROUPS):
        number = min(31, max(-32, nearest_int(inverse * scales[group])))
        out[0, 2 + group // 4] |= ((number + 32) >> 4) << (2 * (group % 4))
        out[0, 4 + group // 2] |= ((number + 32) & 15) << (4 * (group % 2))
        write(groups[group], d * np.float32(number), out[0, 8 + group * GROUP // 2 :])


@kernel
def dequantize(data: Any, out: Any) -> None:
    blocks, groups = data.reshape(-1, TYPE_SIZE), out.reshape(-1, GROUP)
    for block in range(len(blocks)):
        d = half_at(blocks, block, 0)
        for group in range(N_GROUPS):
            low = blocks[block, 4 + group // 2] >> (4 * (group % 2)) & 15
            high = blocks[block, 2 + group // 4] >> (2 * (group % 4)) & 3
            scale = d * np.float32(np.int32(low | high << 4) - 32)
            decode(blocks[block, 8 + group * GROUP // 2 :], scale, groups[block * N_GROUPS + group])
