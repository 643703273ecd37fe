"""Q2_K to Q6_K: the twin's bytes by numpy and by kernels, lanes that know nothing of each other, bounded errors."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conversion.quants import dequantize, quantize
from tests import naive_k
from tests.conversion.quants.test_properties import make_rows

TYPES = list(naive_k.BLOCKS)
IMPLEMENTATIONS = ["numpy", "compiled"]
LARGEST_ERROR = {"Q2_K": 0.5, "Q3_K": 0.3, "Q4_K": 0.12, "Q5_K": 0.06, "Q6_K": 0.05}
"""As a share of the largest magnitude in a block of 256."""

values_of_a_row = st.builds(
    make_rows,
    st.integers(0, 2**32),
    st.just(1),
    st.integers(0, 24),
    st.dictionaries(st.integers(0, 256), st.floats(-8.0, 8.0, width=32), max_size=6),
)


def importance(seed: int, n_cols: int = 256) -> np.ndarray:
    """Weights as activations have them: many small, some large, a run of zeros."""
    weights = np.random.default_rng(seed).random(n_cols, dtype=np.float32) ** 3
    weights[n_cols // 8 : n_cols // 6] = 0
    return weights


def offset_by_much(seed: int) -> np.ndarray:
    """Values that differ in their last bits only: fits of such have steep slopes, and numbers that no int holds."""
    chance = np.random.default_rng(seed)
    return (np.float32(-3) + chance.integers(0, 3, (1, 256)) * np.float32(2.0**-22)).astype(np.float32)


def in_both_ways(values: np.ndarray, type_name: str, weights: np.ndarray | None) -> list[np.ndarray]:
    made = []
    for implementation in IMPLEMENTATIONS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOLDFAST_KERNELS", implementation)
            made.append(quantize(values, type_name, weights))
    return made


@pytest.mark.parametrize("type_name", TYPES)
@settings(max_examples=6, deadline=None)
@given(values=values_of_a_row, seed=st.none() | st.integers(0, 1000))
@example(values=offset_by_much(1), seed=None)
@example(values=offset_by_much(2) + np.float32(3), seed=2)
@example(values=make_rows(6, 1, 0, {}) * np.float32(2.0**-147), seed=None)
@example(values=make_rows(3, 1, 0, {5: 3e5}), seed=None)
@example(values=make_rows(4, 1, 0, {5: -3e5}), seed=4)
def test_the_naive_twin_makes_the_same_bytes(type_name: str, values: np.ndarray, seed: int | None) -> None:
    weights = None if seed is None else importance(seed)
    with np.errstate(all="ignore"):
        expected = naive_k.quantized(type_name, values[0], weights)
    for made in in_both_ways(values, type_name, weights):
        assert made.tobytes() == expected


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize(("n_rows", "blocks_per_row"), [(40, 1), (21, 5), (3, 31), (4, 33), (1, 70)])
def test_every_block_is_weighed_by_its_own_columns(type_name: str, n_rows: int, blocks_per_row: int) -> None:
    """Kernels take 32 blocks at once, which begin and end anywhere in a row, and may be of many rows."""
    values = make_rows(5, n_rows, 3, {}, 256 * blocks_per_row)
    by_numpy, by_kernel = in_both_ways(values, type_name, importance(6, values.shape[1]))
    assert (by_numpy == by_kernel).all()


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("weights", [None, importance(1, 768)], ids=["plain", "imatrix"])
def test_lanes_know_nothing_of_each_other(type_name: str, weights: np.ndarray | None) -> None:
    """Kernels take 32 blocks at once: 15 rows of 3 blocks leave lanes empty, and one extreme block is in the midst."""
    chance = np.random.default_rng(3)
    values = (chance.normal(0, 1, (15, 768)) * 2.0 ** chance.integers(-9, 2, (15, 1))).astype(np.float32)
    values[4, 256:512], values[7] = offset_by_much(4), 0
    by_numpy, by_kernel = in_both_ways(values, type_name, weights)
    assert (by_kernel == by_numpy).all()
    one_by_one = [in_both_ways(row[None], type_name, weights)[1] for row in values]
    assert (by_kernel == np.concatenate(one_by_one)).all()


@pytest.mark.parametrize("type_name", TYPES)
def test_errors_are_bounded_and_an_importance_matrix_lessens_those_that_count(type_name: str) -> None:
    values, weights = np.random.default_rng(6).normal(0, 1, (64, 256)).astype(np.float32), importance(1)
    plain, weighted = (dequantize(quantize(values, type_name, w), type_name, 256) for w in (None, weights))
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(plain - values) / largest).max() <= LARGEST_ERROR[type_name]
    assert ((weighted - values) ** 2 * weights).sum() < ((plain - values) ** 2 * weights).sum()


@pytest.mark.parametrize("type_name", TYPES)
def test_kernels_and_numpy_read_any_bytes_alike(type_name: str) -> None:
    blocks = quantize(np.zeros((3, 256), dtype=np.float32), type_name)
    data = np.random.default_rng(8).integers(0, 256, blocks.shape, dtype=np.uint8)
    read = []
    for implementation in IMPLEMENTATIONS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOLDFAST_KERNELS", implementation)
            read.append(dequantize(data, type_name, 256))
    assert np.array_equal(read[0], read[1], equal_nan=True)
