"""What the K-quant kernels are built of: rounding as ggml rounds, transposing, the first sixteen lanes and the last."""

from typing import Any

import numba
import numpy as np

from conversion.quants.kernels.lanes import (
    WIDTH,
    halves,
    is_all,
    is_any,
    load,
    nearest,
    splat,
    store,
    transpose,
)
from conversion.quants.rounding import nearest_int


@numba.njit(error_model="numpy")
def run(source: Any, starts: Any, numbers: Any, bytes_out: Any, transposed: Any) -> Any:
    """Everything in one function: it is compiled once."""
    store(bytes_out, 0, nearest(load(numbers, 0)))
    transpose(source, starts, 3, transposed, 0)
    store(transposed, 16 * WIDTH, halves(numbers[0], numbers[1]))
    number = load(numbers, 0)
    return is_any(number > splat(1e30)), is_all(number > splat(1e30)), is_all(load(numbers, 0) == number)


def test_lanes_round_transpose_and_tell_of_masks() -> None:
    source = np.arange(WIDTH * 40, dtype=np.float32)
    starts = (np.arange(WIDTH)[::-1] * 40).astype(np.int64)
    odd = [0.5, 1.5, -0.5, 2.5, 1e9, -1e9, np.nan, np.inf, -np.inf, 4194304.0, 3e38, -0.0]
    numbers = np.array([*odd, *range(WIDTH - len(odd))], dtype=np.float32)
    rounded, transposed = np.zeros(WIDTH, dtype=np.uint8), np.zeros(17 * WIDTH, dtype=np.float32)
    masks = run(source, starts, numbers, rounded, transposed)
    assert (rounded == (nearest_int(numbers) & 255)).all()
    rows = source.reshape(WIDTH, 40)[::-1, 3:19]
    assert (transposed[: 16 * WIDTH].reshape(16, WIDTH) == rows.T).all()
    assert transposed[16 * WIDTH :].tolist() == [0.5] * 16 + [1.5] * 16
    assert masks == (True, False, False)
