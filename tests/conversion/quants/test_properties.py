"""What holds for every type: shape, the twin's bytes, bounded error, stability, and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.quants import TYPES, QuantError, dequantize, quantize, row_bytes, type_by_name
from conversion.quants.rounding import round_half_away
from tests import naive

N_COLS = 256
STEPS = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 127, "Q4_0": 1 / 8, "Q6_K": 1 / 20}
"""The largest error of a value, as a share of the largest magnitude in its block."""

LEVELS = {"F32": 0, "F16": 1, "BF16": 0, "Q8_0": 127, "Q4_0": 8, "Q6_K": 128 * 32}
"""How many scales a value may be: a float16 scale is off by up to 2**-25 where it is subnormal."""


def make_rows(seed: int, n_rows: int, spread: int, edits: dict[int, float]) -> np.ndarray:
    """Weights as models have them, every 32 at a scale of their own, then some values replaced."""
    chance = np.random.default_rng(seed)
    scales = 2.0 ** chance.integers(-spread, 2, n_rows * N_COLS // 32)
    values = (chance.normal(0, 1, (n_rows * N_COLS // 32, 32)) * scales[:, None]).astype(np.float32)
    for place, value in edits.items():
        values.flat[place % values.size] = value
    values[chance.random(len(values)) < 0.1] = 0
    return values.reshape(n_rows, N_COLS)


rows = st.builds(
    make_rows,
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(0, 16),
    st.dictionaries(st.integers(0, 3 * N_COLS), st.floats(-8.0, 8.0, width=32), max_size=6),
)
few = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("type_name", naive.QUANTIZERS)
@few
@given(values=rows)
def test_the_naive_twin_makes_the_same_bytes(type_name: str, values: np.ndarray) -> None:
    expected = b"".join(naive.QUANTIZERS[type_name](row) for row in values)
    assert quantize(values, type_name).tobytes() == expected


@pytest.mark.parametrize("type_name", STEPS)
@few
@given(values=rows)
def test_shapes_are_as_promised_and_the_error_is_bounded(type_name: str, values: np.ndarray) -> None:
    data = quantize(values, type_name)
    assert (data.dtype, data.shape) == (np.uint8, (len(values), row_bytes(type_name, N_COLS)))
    back = dequantize(data, type_name, N_COLS)
    assert (back.dtype, back.shape) == (np.float32, values.shape)
    size = max(16, type_by_name(type_name).block_size)
    largest = np.abs(values.reshape(-1, size)).max(axis=1, keepdims=True)
    error = np.abs((back - values).reshape(-1, size))
    assert (error <= largest * STEPS[type_name] * 1.01 + LEVELS[type_name] * 2.0**-25).all()


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16", "Q8_0"])
@few
@given(values=rows)
def test_what_was_quantised_once_stays_as_it_is(type_name: str, values: np.ndarray) -> None:
    once = dequantize(quantize(values, type_name), type_name, N_COLS)
    assert (dequantize(quantize(once, type_name), type_name, N_COLS) == once).all()


@pytest.mark.parametrize("type_name", TYPES)
def test_more_blocks_than_one_chunk_are_worked_on_alike(type_name: str) -> None:
    values = np.random.default_rng(5).normal(0, 0.02, (3, 1 << 17)).astype(np.float32)
    whole = quantize(values, type_name)
    assert (whole == np.concatenate([quantize(row[None], type_name) for row in values])).all()


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_place(type_name: str, bad: float) -> None:
    values = np.zeros((2, N_COLS), dtype=np.float32)
    values[1, 77] = bad
    with pytest.raises(QuantError, match="row 1, column 77") as refused:
        quantize(values, type_name)
    assert refused.value.code == "non-finite-weights"


def test_rows_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(QuantError, match="rows of 48 values do not divide into blocks of 32") as refused:
        quantize(np.zeros((1, 48), dtype=np.float32), "Q8_0")
    assert refused.value.code == "row-not-divisible"


def test_an_unknown_type_is_named_with_those_there_are() -> None:
    with pytest.raises(QuantError, match=r"'Q9_9' is not one of F32, F16, BF16, Q8_0, Q4_0, Q6_K"):
        row_bytes("Q9_9", 256)


def test_an_importance_matrix_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(QuantError, match="expected 64 float32 weights") as refused:
        quantize(np.zeros((1, 64), dtype=np.float32), "Q4_0", np.ones(32, dtype=np.float32))
    assert refused.value.code == "wrong-imatrix"


def test_bytes_that_are_not_whole_rows_are_refused() -> None:
    with pytest.raises(QuantError, match="not whole Q8_0 rows"):
        dequantize(np.zeros(35, dtype=np.uint8), "Q8_0", 32)


def test_other_dtypes_are_refused_rather_than_promoted() -> None:
    with pytest.raises(QuantError, match="expected float32 rows, got float64"):
        quantize(np.zeros((1, 32)), "Q8_0")  # type: ignore[arg-type]


def test_halves_round_away_from_zero_and_the_nearest_below_a_half_does_not() -> None:
    values = np.array([0.5, -0.5, 1.5, -2.5, 0.49999997, -0.49999997, 126.5, 0.0], dtype=np.float32)
    assert round_half_away(values).tolist() == [1, -1, 2, -3, 0, 0, 127, 0]
