"""What holds for every type alike: shapes, refusals, and the same bytes however the work is cut up or who does it."""

import numpy as np
import pytest

from conversion.quants import (
    TYPES,
    QuantError,
    dequantize,
    dequantize_into,
    quantize,
    quantize_into,
    row_bytes,
    type_by_name,
)
from conversion.quants.base import QuantType
from conversion.quants.rounding import round_half_away
from tests.conversion.quants.rows import make_rows

N_COLS = 256
MADE = [name for name, kind in TYPES.items() if kind.quantize_blocks is not None]
IMPORTANCE = np.random.default_rng(9).random(N_COLS, dtype=np.float32) + np.float32(0.01)


@pytest.mark.parametrize("type_name", TYPES)
def test_a_type_says_what_it_is(type_name: str) -> None:
    kind = type_by_name(type_name)
    assert kind.name == type_name
    assert all(0 <= at <= kind.type_size - 2 for at in kind.scale_at)
    assert not (kind.needs_imatrix and not kind.uses_imatrix)


@pytest.mark.parametrize("type_name", TYPES)
def test_shapes_are_as_promised(type_name: str) -> None:
    values = make_rows(3, 2, 4, {})
    width = row_bytes(type_name, N_COLS)
    if type_name in MADE:
        data = quantize(values, type_name, IMPORTANCE)
        assert (data.dtype, data.shape) == (np.uint8, (2, width))
    back = dequantize(np.zeros((2, width), dtype=np.uint8), type_name, N_COLS)
    assert (back.dtype, back.shape) == (np.float32, values.shape)


@pytest.mark.parametrize(
    ("implementation", "type_name"),
    [("numpy", "Q8_0"), ("numpy", "Q4_1"), *(("compiled", name) for name in MADE)],
)
def test_any_number_of_threads_makes_the_same_bytes(
    implementation: str, type_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three chunks, the last of them smaller; and numpy makes the same of some."""
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    n_cols = 1 << 16
    values = np.random.default_rng(5).normal(0, 0.02, (9, n_cols)).astype(np.float32)
    importance = np.resize(IMPORTANCE, n_cols) if implementation == "compiled" else None
    alone = quantize(values, type_name, importance)
    decoded = dequantize(alone, type_name, n_cols)
    for n_threads in (2, 3, 4):
        assert (quantize(values, type_name, importance, n_threads=n_threads) == alone).all()
        threaded = dequantize(alone, type_name, n_cols, n_threads=n_threads)
        assert (threaded.view(np.uint32) == decoded.view(np.uint32)).all()
    monkeypatch.setenv("HOLDFAST_KERNELS", "numpy")
    first = values[:1, :4096]
    expected = quantize(first, type_name, None if importance is None else importance[:4096])
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    assert (quantize(first, type_name, None if importance is None else importance[:4096]) == expected).all()


@pytest.mark.parametrize("type_name", MADE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_place(type_name: str, bad: float) -> None:
    values = np.zeros((2, N_COLS), dtype=np.float32)
    values[1, 77] = bad
    with pytest.raises(QuantError, match="row 1, column 77") as refused:
        quantize(values, type_name, IMPORTANCE)
    assert refused.value.code == "non-finite-weights"


@pytest.mark.parametrize("implementation", ["numpy", "compiled"])
def test_the_first_bad_value_of_many_chunks_is_named_whoever_finds_it_first(
    implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.zeros((40, 1 << 16), dtype=np.float32)
    values[[11, 22, 33], [1025, 0, 5]] = np.inf
    with pytest.raises(QuantError, match="row 11, column 1025 is inf"):
        quantize(values, "Q8_0", n_threads=4)


@pytest.mark.parametrize("implementation", ["numpy", "compiled"])
def test_a_scale_that_does_not_fit_is_refused_with_its_block(
    implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.zeros((40, 1 << 16), dtype=np.float32)
    values[9, 100] = 1e30
    with pytest.raises(QuantError, match=f"block {9 * 2048 + 3} does not fit Q8_0") as refused:
        quantize(values, "Q8_0")
    assert refused.value.code == "scale-overflow"


def test_buffers_are_filled_and_reused() -> None:
    kind, values = type_by_name("Q4_0"), make_rows(4, 3, 4, {})
    data, back = (
        np.empty((3, kind.row_bytes(N_COLS)), dtype=np.uint8),
        np.empty((3, N_COLS), dtype=np.float32),
    )
    for rows in (values, -values):
        quantize_into(kind, rows, data, IMPORTANCE)
        assert (data == quantize(rows, "Q4_0", IMPORTANCE)).all()
        dequantize_into(kind, data, back)
        assert (back == dequantize(data, "Q4_0", N_COLS)).all()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 35), dtype=np.uint8),
        np.empty((1, 34), dtype=np.uint8),
        np.empty((2, 34), dtype=np.int8),
        np.empty((2, 68), dtype=np.uint8)[:, ::2],
    ],
)
def test_a_buffer_that_a_kernel_would_write_beyond_is_refused(out: np.ndarray) -> None:
    with pytest.raises(QuantError, match="to fill") as refused:
        quantize_into(type_by_name("Q8_0"), np.zeros((2, 32), dtype=np.float32), out)
    assert refused.value.code == "wrong-shape"


@pytest.mark.parametrize("implementation", ["numpy", "compiled"])
def test_rows_may_lie_anywhere_and_be_read_only(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes from a file are read-only and start where they start; a part of a matrix has gaps."""
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = make_rows(8, 4, 4, {})
    expected = quantize(values, "Q5_1")
    shifted = np.frombuffer(b"x" + values.tobytes(), dtype=np.uint8)[1:].view("<f4").reshape(4, N_COLS)
    gaps = np.repeat(values, 2, axis=0)[::2]
    assert (quantize(shifted, "Q5_1") == expected).all()
    assert (quantize(gaps, "Q5_1") == expected).all()
    read_only = np.frombuffer(expected.tobytes(), dtype=np.uint8)
    assert (dequantize(read_only, "Q5_1", N_COLS) == dequantize(expected, "Q5_1", N_COLS)).all()


def test_a_type_without_a_quantiser_can_only_be_read() -> None:
    kind = QuantType("READ_ONLY", 32, 34, None, type_by_name("Q8_0").dequantize_blocks)
    with pytest.raises(QuantError, match="READ_ONLY can be read but not made") as refused:
        quantize_into(kind, np.zeros((1, 32), dtype=np.float32), np.empty((1, 34), dtype=np.uint8))
    assert refused.value.code == "cannot-quantise"
    back = np.empty((1, 32), dtype=np.float32)
    dequantize_into(kind, np.zeros((1, 34), dtype=np.uint8), back)
    assert (back == 0).all()


@pytest.mark.parametrize("type_name", [name for name, kind in TYPES.items() if kind.needs_imatrix])
def test_a_type_that_needs_an_importance_matrix_is_refused_without(type_name: str) -> None:
    with pytest.raises(QuantError, match=f"{type_name} is made with an importance matrix") as refused:
        quantize(np.zeros((1, N_COLS), dtype=np.float32), type_name)
    assert refused.value.code == "imatrix-required"


def test_rows_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(QuantError, match="rows of 48 values do not divide into blocks of 32") as refused:
        quantize(np.zeros((1, 48), dtype=np.float32), "Q8_0")
    assert refused.value.code == "row-not-divisible"


def test_an_unknown_type_is_named_with_those_there_are() -> None:
    with pytest.raises(QuantError, match=r"'Q9_9' is not one of F32, F16, BF16") as refused:
        row_bytes("Q9_9", 256)
    assert refused.value.code == "unknown-type"


@pytest.mark.parametrize("type_name", ["Q4_0", "Q8_0"])
def test_an_importance_matrix_of_the_wrong_size_is_refused_even_where_it_changes_nothing(
    type_name: str,
) -> None:
    with pytest.raises(QuantError, match="expected 64 float32 weights") as refused:
        quantize(np.zeros((1, 64), dtype=np.float32), type_name, np.ones(32, dtype=np.float32))
    assert refused.value.code == "wrong-imatrix"


def test_bytes_that_are_not_whole_rows_are_refused() -> None:
    with pytest.raises(QuantError, match="not whole Q8_0 rows"):
        dequantize(np.zeros(35, dtype=np.uint8), "Q8_0", 32)


def test_other_dtypes_are_refused_rather_than_promoted() -> None:
    with pytest.raises(QuantError, match="expected float32 rows, got float64"):
        quantize(np.zeros((1, 32)), "Q8_0")  # type: ignore[arg-type]


def test_no_rows_give_no_bytes() -> None:
    assert quantize(np.zeros((0, 32), dtype=np.float32), "Q8_0").shape == (0, 34)


def test_halves_round_away_from_zero_and_the_nearest_below_a_half_does_not() -> None:
    values = np.array([0.5, -0.5, 1.5, -2.5, 0.49999997, -0.49999997, 126.5, 0.0], dtype=np.float32)
    assert round_half_away(values).tolist() == [1, -1, 2, -3, 0, 0, 127, 0]
