"""The trellis of ik_llama.cpp's KT types: a number of up to 16 bits stands for a whole group of values.

A group is not looked up but computed: x, the number plus an offset, is multiplied by a constant again and again, modulo
2 ** 32. After each time the low six bits of its four bytes, added up, less 126, are one value.

(iqk_quantize.cpp of ik_llama.cpp 8337e4cd3: QuantizerIQKT::set_values with is_int; bit for bit.)
"""

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Floats

OFFSET = 4096
_FACTOR, _MASK = np.uint32(0xCBAC1FED), np.uint32(0x3F3F3F3F)


def values(
    numbers: npt.NDArray[np.uint32], size: int, offset: int | npt.NDArray[np.uint32] = OFFSET
) -> Floats:
    """float32 (..., size): whole numbers from -126 to 126, the group that each number stands for."""
    x = numbers + np.asarray(offset, dtype=np.uint32)
    out = np.empty((*numbers.shape, size), dtype=np.float32)
    for k in range(size):
        x = x * _FACTOR
        masked = np.ascontiguousarray(x & _MASK)
        total = masked.view(np.uint8).reshape(*numbers.shape, 4).sum(axis=-1, dtype=np.int32)
        out[..., k] = total.astype(np.float32) - np.float32(126)
    return out
