"""What MXFP4 and NVFP4 share: floats of four bits (E2M1), one sign, two exponent bits and one of mantissa.

| code | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8-15 |
|---|---|---|---|---|---|---|---|---|---|
| stands for | 0 | 0.5 | 1 | 1.5 | 2 | 3 | 4 | 6 | the same, negative |

ggml keeps all of them doubled, and halves the scale: so do we. (ggml-quants.c: best_index_mxfp4, kvalues_mxfp4.)
"""

import numpy as np

from conversion.quants.base import Bytes, Floats

DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12], dtype=np.float32)
VALUES = np.concatenate([DOUBLED, np.float32(0) - DOUBLED])
"""Code 8 reads as +0. It is never written: code 0 is as near and comes first."""


def nearest_codes(blocks: Floats, half_scale: Floats) -> Bytes:
    """The code of the nearest value times `half_scale`, (n_blocks, 1); of two as near, the first.

    Every difference is rounded to float32 and compared: where a value is far beyond the largest code, that decides.
    """
    magnitudes = np.abs(blocks)
    best = magnitudes.copy()
    codes = np.zeros(blocks.shape, dtype=np.uint8)
    for code in range(1, 8):
        error = np.abs(DOUBLED[code] * half_scale - magnitudes)
        is_nearer = error < best
        np.copyto(codes, np.uint8(code), where=is_nearer)
        np.copyto(best, error, where=is_nearer)
    codes[(codes != 0) & (blocks < 0)] |= 8
    return codes


def values_of(codes: Bytes, half_scale: Floats) -> Floats:
    """The values that the codes stand for; `half_scale` is (n_blocks, 1)."""
    found: Floats = VALUES[codes] * half_scale
    return found
