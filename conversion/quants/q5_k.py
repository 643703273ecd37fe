"""Q5_K: 256 five-bit numbers in 8 groups, each with a scale and a minimum of six bits; 5.5 bits a weight.

| bytes | what |
|---|---|
| 0-15 | d, dmin, and 8 scales and minima of six bits; see scales_and_minima.py |
| 16-47 | qh: the fifth bit of element 32 * g + l is bit g of byte l |
| 48-175 | ql: per 64 elements 32 bytes: byte l holds the low four bits of element l, and above them those of l + 32 |

value = d * scale * quant - dmin * minimum. (ggml-quants.c: quantize_row_q5_K_ref, quantize_row_q5_K_impl,
dequantize_row_q5_K; bit for bit.) Where the stored scale of a group becomes zero, the quants of the search are kept, as
ggml does.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.scales_and_minima import GROUP, N_GROUPS, dequantize_groups, quantize_groups
from conversion.quants.search import Tries

BLOCK_SIZE, TYPE_SIZE, N_MAX = 256, 176, 31
TRIES = Tries(-0.5, 0.1, 16)
_GROUP_BIT = np.arange(N_GROUPS, dtype=np.uint8).reshape(1, N_GROUPS, 1)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    quants = quantize_groups(blocks, importance, N_MAX, TRIES, out)
    out[:, 16:48] = np.bitwise_or.reduce(quants >> 4 << _GROUP_BIT, axis=1)
    pairs = (quants & 15).reshape(-1, 4, 2, GROUP)
    out[:, 48:] = (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(-1, 128)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    packed = blocks[:, 48:].reshape(-1, 4, 1, GROUP)
    low = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, N_GROUPS, GROUP)
    high = (blocks[:, None, 16:48] >> _GROUP_BIT) & 1
    dequantize_groups(blocks, low | (high << 4), out)


Q5_K = QuantType("Q5_K", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0, 2))
