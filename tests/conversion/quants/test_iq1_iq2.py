"""IQ1 and IQ2: the twin's bytes by numpy and by kernels, lanes left empty, bounded memory, and what is refused."""

import tracemalloc

import numpy as np
import pytest

from conversion.quants import QuantError, dequantize, quantize, type_by_name
from tests import naive_iq12 as naive
from tests.conversion.quants.rows import make_rows

TYPES = list(naive.QUANTIZERS)
WITHOUT_IMATRIX = ["IQ2_S", "IQ1_M"]
IMPLEMENTATIONS = ["numpy", "compiled"]
LARGEST_ERROR = {"IQ2_XXS": 0.75, "IQ2_XS": 0.7, "IQ2_S": 0.6, "IQ1_S": 1.1, "IQ1_M": 1.0}
"""Root of the mean squared error, as a share of that of the values."""

SEEDS = [1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 30))]


def importance(seed: int, n_cols: int = 256) -> np.ndarray:
    """Weights as activations have them: many small, some large, a run of zeros."""
    weights = np.random.default_rng(seed).random(n_cols, dtype=np.float32) ** 3
    weights[n_cols // 8 : n_cols // 6] = 0
    return weights


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("type_name", TYPES)
def test_the_naive_twin_makes_the_same_bytes(
    type_name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin takes most of a second for a block, so it has few; odd seeds have scales far apart."""
    values = make_rows(seed, 1, 16 if seed % 2 else 0, {seed: 8.0, 40 * seed: -3.5})
    weights = importance(seed) if seed % 2 or type_name not in WITHOUT_IMATRIX else None
    with np.errstate(all="ignore"):
        expected = naive.QUANTIZERS[type_name](values[0], weights)
    for implementation in IMPLEMENTATIONS:
        monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
        assert quantize(values, type_name, weights).tobytes() == expected, implementation


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("spread", [0, 40])
def test_lanes_left_empty_and_runs_of_zeros_change_nothing(
    type_name: str, spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels work on 32 runs side by side; 7 rows of 3 blocks leave lanes empty at the end."""
    chance = np.random.default_rng(3)
    scales = 2.0 ** chance.integers(-spread, 2, (7 * 768 // 32, 1))
    values = (chance.normal(0, 1, (len(scales), 32)) * scales).astype(np.float32)
    values[chance.random(len(values)) < 0.2] = 0
    values, weights = values.reshape(7, 768), importance(1, 768)
    made = {}
    for implementation in IMPLEMENTATIONS:
        monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
        made[implementation] = quantize(values, type_name, weights)
        one_by_one = np.concatenate([quantize(row[None], type_name, weights) for row in values])
        assert (made[implementation] == one_by_one).all()
    assert (made["numpy"] == made["compiled"]).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("type_name", TYPES)
def test_what_comes_back_is_as_near_as_the_bits_allow(
    type_name: str, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.random.default_rng(7).normal(0, 0.02, (2, 1024)).astype(np.float32)
    back = dequantize(quantize(values, type_name, np.ones(1024, dtype=np.float32)), type_name, 1024)
    assert np.sqrt(np.square(back - values).mean() / np.square(values).mean()) < LARGEST_ERROR[type_name]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("type_name", TYPES)
def test_values_on_which_ggml_stops_are_refused_by_the_number_of_their_block(
    type_name: str, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.random.default_rng(8).normal(0, 0.02, (2, 1024)).astype(np.float32)
    values[1, 512:768] *= np.float32(1e10)
    with pytest.raises(QuantError, match="block 6") as refused:
        quantize(values, type_name, np.ones(1024, dtype=np.float32))
    assert refused.value.code in {"scale-overflow", "aborts-in-ggml"}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_block_that_ggml_aborts_on_is_named(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.random.default_rng(8).normal(0, 0.02, (3, 512)).astype(np.float32)
    values[2, 256:] *= np.float32(5e31)
    with pytest.raises(QuantError, match=r"block 5 .* ggml aborts") as refused:
        quantize(values, "IQ2_XS", np.ones(512, dtype=np.float32))
    assert refused.value.code == "aborts-in-ggml"


@pytest.mark.parametrize("type_name", [name for name in TYPES if name not in WITHOUT_IMATRIX])
def test_an_importance_matrix_is_asked_for_where_ggml_needs_one(type_name: str) -> None:
    assert type_by_name(type_name).needs_imatrix
    with pytest.raises(QuantError, match="importance matrix or not at all") as refused:
        quantize(np.ones((1, 256), dtype=np.float32), type_name)
    assert refused.value.code == "imatrix-required"


@pytest.mark.parametrize("type_name", ["IQ2_XS", "IQ1_M"])
def test_numpy_needs_bounded_memory_however_many_neighbours_there_are(
    type_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", "numpy")
    values = np.random.default_rng(9).normal(0, 1, (2, 1 << 15)).astype(np.float32)
    quantize(values[:, :256], type_name, np.ones(256, dtype=np.float32))
    tracemalloc.start()
    try:
        quantize(values, type_name, np.ones(1 << 15, dtype=np.float32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20
