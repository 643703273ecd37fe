"""What F16, BF16 and the FP8 types share: every value is narrowed by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.vectors import bits_of_all, chosen, load_floats, max_of

N = 32
"""Values at once."""


def narrower(put: Callable[..., Any], limit: int) -> Callable[..., Any]:
    """A function of float32 and uint8 of one dimension: `put(data, i, x)` is called for value i and those after it.

    It gives 1 if the bits of a magnitude reach `limit`, as those of NaN and infinity do; else 0.
    """

    @inner
    def narrow(values: np.ndarray, data: np.ndarray) -> int:
        n_vectors = values.size // N
        largest = bits_of_all(load_floats(values, 0, 1)) & 0
        for i in range(N * n_vectors, values.size):
            x = load_floats(values, i, 1)
            put(data, i, x)
            largest = _larger(largest, bits_of_all(x) & 0x7FFFFFFF)
        is_bad = max_of(largest) >= limit
        if n_vectors:
            largest_of_many = bits_of_all(load_floats(values, 0, N)) & 0
            for i in range(n_vectors):
                x = load_floats(values, N * i, N)
                put(data, N * i, x)
                largest_of_many = _larger(largest_of_many, bits_of_all(x) & 0x7FFFFFFF)
            is_bad = is_bad or max_of(largest_of_many) >= limit
        return 1 if is_bad else 0

    return narrow


@inner
def _larger(left: Any, right: Any) -> Any:
    return chosen(left > right, left, right)
