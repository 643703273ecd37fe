"""What a kernel is compiled of."""

from typing import Any

import numba
import numpy as np
import pytest

from conversion.quants.kernels.compiling import inner


@inner
def pair_with(values: Any) -> Any:
    return values, values[0]


@numba.njit
def first_of(values: Any) -> Any:
    return pair_with(values)[1]


def test_a_part_that_gives_back_an_array_is_refused() -> None:
    """It counts no users: whoever called it would let go of an array that it never held."""
    with pytest.raises(TypeError, match="pair_with gives back an array"):
        first_of(np.zeros(1, dtype=np.float32))
