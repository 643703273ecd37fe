"""Q4_K: 256 four-bit numbers in 8 groups, each with a scale and a minimum of six bits; 4.5 bits a weight.

| bytes | what |
|---|---|
| 0-15 | d, dmin, and 8 scales and minima of six bits; see scales_and_minima.py |
| 16-143 | quants: per 64 elements 32 bytes: byte l holds element l in the low nibble, l + 32 in the high one |

value = d * scale * quant - dmin * minimum. (ggml-quants.c: quantize_row_q4_K_ref, quantize_row_q4_K_impl,
dequantize_row_q4_K; bit for bit.) Where the stored scale of a group becomes zero, the quants of the search are kept, as
ggml does.
"""

import numpy as np

from conversion.quants.base import Bytes, Floats, Importance, QuantType
from conversion.quants.scales_and_minima import GROUP, N_GROUPS, dequantize_groups, quantize_groups
from conversion.quants.search import Tries

BLOCK_SIZE, TYPE_SIZE, N_MAX = 256, 144, 15
TRIES = Tries(-1.0, 0.1, 21)


def quantize_blocks(blocks: Floats, importance: Importance | None, out: Bytes) -> None:
    pairs = quantize_groups(blocks, importance, N_MAX, TRIES, out).reshape(-1, 4, 2, GROUP)
    out[:, 16:] = (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(-1, 128)


def dequantize_blocks(blocks: Bytes, out: Floats) -> None:
    packed = blocks[:, 16:].reshape(-1, 4, 1, GROUP)
    quants = np.concatenate([packed & 15, packed >> 4], axis=2)
    dequantize_groups(blocks, quants.reshape(-1, N_GROUPS, GROUP), out)


Q4_K = QuantType("Q4_K", BLOCK_SIZE, TYPE_SIZE, quantize_blocks, dequantize_blocks, scale_at=(0, 2))
