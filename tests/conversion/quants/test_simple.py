"""The simple types, in numpy and compiled: the twin's bytes with and without importance, and a bounded error."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from conversion.quants import dequantize, quantize, type_by_name
from tests import naive, naive_simple
from tests.conversion.quants.rows import make_rows

N_COLS = 256
TWINS = {
    name: lambda row, weights, twin=twin: twin(row)
    for name, twin in naive.QUANTIZERS.items()
    if name != "Q6_K"
}
TWINS |= naive_simple.QUANTIZERS
STEPS = {
    "F32": 0.0, "F16": 2**-11, "BF16": 2**-8, "F8_E4M3": 2**-4, "F8_E5M2": 2**-3, "Q8_0": 1 / 127, "Q4_0": 1 / 8,
    "Q4_1": 1 / 15 + 3 * 2**-11, "Q5_0": 1 / 16, "Q5_1": 1 / 31 + 3 * 2**-11, "Q1_0": 1.0,
    "Q2_0": 1 / 2, "TQ1_0": 1 / 2, "TQ2_0": 1 / 2, "MXFP4": 1 / 4, "NVFP4": 1 / 4,
}  # fmt: skip
"""The largest error of a value, as a share of the largest magnitude in its block. Where a minimum is stored the values
span up to twice that magnitude, and the rounding of both float16 numbers shows."""

LEVELS = {
    "F16": 1, "Q8_0": 127, "Q4_0": 8, "Q4_1": 16, "Q5_0": 16, "Q5_1": 32, "Q1_0": 1, "Q2_0": 2, "TQ1_0": 1,
    "TQ2_0": 1,
}  # fmt: skip
"""How many scales a value may be: a float16 scale is off by up to 2**-25 where it is subnormal."""

SMALLEST = {"BF16": 2.0**-133, "F8_E4M3": 2.0**-10, "F8_E5M2": 2.0**-17, "NVFP4": 6 * 2.0**-10}
"""What is smaller may become zero, for want of a scale or because its scale has no smaller number."""

rows = st.builds(
    make_rows,
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(0, 16),
    st.dictionaries(st.integers(0, 3 * N_COLS), st.floats(-8.0, 8.0, width=32), max_size=6),
)
weights = st.builds(
    lambda seed: np.random.default_rng(seed).random(N_COLS, dtype=np.float32), st.integers(0, 2**32)
)


@pytest.mark.parametrize("type_name", TWINS)
# Without shrinking: the twins are slow, and any case shows the same.
@settings(max_examples=6, deadline=None, phases=[Phase.generate])
@given(values=rows, importance=st.none() | weights)
def test_the_naive_twin_makes_the_same_bytes(
    type_name: str, values: np.ndarray, importance: np.ndarray | None
) -> None:
    with np.errstate(all="ignore"):  # C overflows in silence, and so must its twin
        expected = b"".join(TWINS[type_name](row, importance) for row in values)
    for implementation in ("numpy", "compiled"):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("HOLDFAST_KERNELS", implementation)
            assert quantize(values, type_name, importance).tobytes() == expected


@pytest.mark.parametrize("type_name", STEPS)
@settings(max_examples=25, deadline=None)
@given(values=rows)
def test_the_error_is_bounded(type_name: str, values: np.ndarray) -> None:
    back = dequantize(quantize(values, type_name), type_name, N_COLS)
    size = type_by_name(type_name).block_size
    largest = np.abs(values.reshape(-1, size)).max(axis=1, keepdims=True)
    error = np.abs((back - values).reshape(-1, size))
    allowed = (
        largest * STEPS[type_name] * 1.01 + LEVELS.get(type_name, 0) * 2.0**-25 + SMALLEST.get(type_name, 0)
    )
    assert (error <= allowed).all()


@pytest.mark.parametrize(
    "type_name", ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "Q8_0", "Q1_0", "TQ1_0", "TQ2_0", "MXFP4"]
)
@settings(max_examples=10, deadline=None)
@given(values=rows)
def test_what_was_quantised_once_stays_as_it_is(type_name: str, values: np.ndarray) -> None:
    once = dequantize(quantize(values, type_name), type_name, N_COLS)
    assert (dequantize(quantize(once, type_name), type_name, N_COLS) == once).all()


@pytest.mark.parametrize("implementation", ["numpy", "compiled"])
def test_the_exponent_of_mxfp4_is_that_of_a_logarithm_in_float32(
    implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just below a power of two C's log2f rounds up, from other mantissas on for each power."""
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    powers = np.arange(-125, 128).repeat(96)
    below = np.tile(np.arange(96), 253)
    largest = (1 - below * 2.0**-24) * 2.0**powers
    values = np.zeros((len(largest), 32), dtype=np.float32)
    values[:, 5] = largest
    logarithms = np.array([np.log2(value) for value in largest]).astype(np.float32)
    is_valid = (np.floor(logarithms).astype(int) + 125) % 256 != 255
    data = quantize(values[is_valid], "MXFP4")
    assert (data[:, 0] == (np.floor(logarithms[is_valid]).astype(int) + 125) % 256).all()
