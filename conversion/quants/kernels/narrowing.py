"""What F16, BF16 and the FP8 types share: every value is narrowed by itself, from float32 or from another 16 bits."""

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.vectors import bits_of_all, chosen, load_floats, max_of

N = 32
"""Values at once."""


@inner
def _one_float(values: np.ndarray, i: int) -> Any:
    return load_floats(values, i, 1)


@inner
def _many_floats(values: np.ndarray, i: int) -> Any:
    return load_floats(values, i, N)


def narrower(
    put: Callable[..., Any],
    limit: int,
    one: Callable[..., Any] = _one_float,
    many: Callable[..., Any] = _many_floats,
    items: int = 1,
) -> Callable[..., Any]:
    """A function of values and uint8, each of one dimension: `put(data, i, x)` is for value i and those after it.

    The values are float32, or whatever `one(values, i)` and `many(values, i)` make vectors of 1 and of N floats of; a
    value takes so many `items` of their array. It gives 1 if the bits of a magnitude reach `limit`, as those of NaN and
    infinity do; else 0.
    """

    @inner
    def narrow(values: np.ndarray, data: np.ndarray) -> int:
        n_values = values.size // items
        n_vectors = n_values // N
        if not n_values:
            return 0
        largest = bits_of_all(one(values, 0)) & 0
        for i in range(N * n_vectors, n_values):
            x = one(values, i)
            put(data, i, x)
            largest = _larger(largest, bits_of_all(x) & 0x7FFFFFFF)
        is_bad = max_of(largest) >= limit
        if n_vectors:
            largest_of_many = bits_of_all(many(values, 0)) & 0
            for i in range(n_vectors):
                x = many(values, N * i)
                put(data, N * i, x)
                largest_of_many = _larger(largest_of_many, bits_of_all(x) & 0x7FFFFFFF)
            is_bad = is_bad or max_of(largest_of_many) >= limit
        return 1 if is_bad else 0

    return narrow


@inner
def _larger(left: Any, right: Any) -> Any:
    return chosen(left > right, left, right)
