"""The roundings of a search, with the CPU's instruction for it and without, against ggml's nearest_int."""

from typing import Any

import numba
import numpy as np

from conversion.quants.kernels.lanes import WIDTH, load, store
from conversion.quants.kernels.search import rounded, rounded_by_sum
from conversion.quants.rounding import nearest_int


@numba.njit
def round_all(values: Any, out: Any) -> None:
    for at in range(0, values.size, WIDTH):
        store(out[0], at, rounded(load(values, at)))
        store(out[1], at, rounded_by_sum(load(values, at)))


def test_a_search_rounds_as_ggml_with_or_without_the_instruction() -> None:
    halves = np.arange(-4096, 4096, dtype=np.float32) / np.float32(2)
    beside = [np.nextafter(halves, np.float32(limit)) for limit in (-np.inf, np.inf)]
    large = np.linspace(-4194303, 4194303, 4096, dtype=np.float32)
    values = np.concatenate([halves, *beside, large])
    out = np.empty((2, values.size), dtype=np.float32)
    round_all(values, out)
    assert (out == nearest_int(values)).all()
