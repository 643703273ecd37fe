"""IQ3 and IQ4: the twin's bytes by numpy and by kernels, errors within bounds, and the facts that kernels rest on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.quants import QuantError, dequantize, quantize
from conversion.quants.iq4 import LEVELS, MIDPOINTS, nearest
from tests import naive_iq34 as naive
from tests.conversion.quants.rows import make_rows

TYPES = list(naive.QUANTIZERS)
IMPLEMENTATIONS = ["numpy", "compiled"]
LARGEST_ERROR = {"IQ4_NL": 0.15, "IQ4_XS": 0.15, "IQ3_XXS": 0.4, "IQ3_S": 0.3}
"""As a share of the largest magnitude in 256 weights."""

rows = st.builds(
    make_rows,
    st.integers(0, 2**32),
    st.just(1),
    st.integers(0, 16),
    st.dictionaries(st.integers(0, 256), st.floats(-8.0, 8.0, width=32), max_size=6),
)


def importance(seed: int, n_cols: int = 256) -> np.ndarray:
    """Weights as activations have them: many small, some large, a run of zeros."""
    weights = np.random.default_rng(seed).random(n_cols, dtype=np.float32) ** 3
    weights[n_cols // 8 : n_cols // 6] = 0
    return weights


@pytest.mark.parametrize("type_name", TYPES)
@settings(max_examples=5, deadline=None)
@given(values=rows, seed=st.none() | st.integers(0, 1000))
def test_the_naive_twin_makes_the_same_bytes(type_name: str, values: np.ndarray, seed: int | None) -> None:
    weights = None if seed is None else importance(seed)
    with np.errstate(all="ignore"):
        expected = b"".join(naive.QUANTIZERS[type_name](row, weights) for row in values)
    for implementation in IMPLEMENTATIONS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOLDFAST_KERNELS", implementation)
            assert quantize(values, type_name, weights).tobytes() == expected, implementation


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("weights", [None, importance(1, 768)], ids=["plain", "imatrix"])
def test_rows_of_any_number_come_out_alike_from_kernels_and_numpy(
    type_name: str, weights: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels work on many blocks side by side; 15 rows of 3 blocks leave lanes empty at the end."""
    chance = np.random.default_rng(3)
    values = (chance.normal(0, 1, (15, 768)) * 2.0 ** chance.integers(-9, 2, (15, 1))).astype(np.float32)
    made = {}
    for implementation in IMPLEMENTATIONS:
        monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
        made[implementation] = quantize(values, type_name, weights)
        one_by_one = np.concatenate([quantize(row[None], type_name, weights) for row in values[:4]])
        assert (made[implementation][:4] == one_by_one).all()
    assert (made["numpy"] == made["compiled"]).all()


@pytest.mark.parametrize("type_name", TYPES)
def test_values_come_back_near_and_alike_from_kernels_and_numpy(
    type_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(4).normal(0, 0.02, (3, 1024)).astype(np.float32)
    monkeypatch.setenv("HOLDFAST_KERNELS", "compiled")
    data = quantize(values, type_name, importance(2, 1024) + np.float32(0.1))
    back = dequantize(data, type_name, 1024)
    monkeypatch.setenv("HOLDFAST_KERNELS", "numpy")
    assert (dequantize(data, type_name, 1024).view(np.int32) == back.view(np.int32)).all()
    error = np.abs(back - values).reshape(-1, 256)
    assert (
        error <= np.abs(values).reshape(-1, 256).max(axis=1, keepdims=True) * LARGEST_ERROR[type_name]
    ).all()


def test_midpoints_part_the_levels_as_ggml_does() -> None:
    """At each midpoint and at the float32 numbers around it, at both ends, and for infinity."""
    around = [np.nextafter(MIDPOINTS, np.float32(side)) for side in (-np.inf, np.inf)]
    values = np.concatenate([MIDPOINTS, *around, LEVELS, np.array([-np.inf, np.inf, -0.0], dtype=np.float32)])
    assert nearest(values).tolist() == [naive.best_index(value) for value in values]


def test_fifteen_tries_meet_one_midpoint_at_most() -> None:
    """What the kernels of IQ4 rest on: inverse scales of -134 ... -120 move a value less than midpoints lie apart."""
    for side in (MIDPOINTS[MIDPOINTS > 0], -MIDPOINTS[MIDPOINTS < 0][::-1]):
        assert (side[1:] / side[:-1]).min() > 134 / 120 * 1.01


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_values_too_large_for_a_scale_are_refused(
    type_name: str, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.zeros((3, 512), dtype=np.float32)
    values[2, 300:310] = 3e9
    with pytest.raises(
        QuantError, match=f"block {2 * 512 // 256 + 1 if type_name != 'IQ4_NL' else 41}"
    ) as refused:
        quantize(values, type_name)
    assert refused.value.code == "scale-overflow"


@pytest.mark.parametrize("type_name", ["IQ3_XXS", "IQ3_S"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_values_on_which_ggml_aborts_are_refused(
    type_name: str, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.random.default_rng(6).normal(0, 1, (4, 512)).astype(np.float32)
    values[2, 256:] *= np.float32(1e30)
    with pytest.raises(QuantError, match="block 5 has values that IQ3_") as refused:
        quantize(values, type_name)
    assert refused.value.code == "aborts-in-ggml"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_iq3_s_moves_points_and_signs_up_behind_a_group_of_zeros(
    implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip of ggml, whose bytes we write: points, 8 bytes a group, and signs, 4, lose the place of the zeros."""
    monkeypatch.setenv("HOLDFAST_KERNELS", implementation)
    values = np.random.default_rng(7).normal(0, 1, (1, 256)).astype(np.float32)
    whole = quantize(values, "IQ3_S")[0]
    values[0, 64:96] = 0
    moved = quantize(values, "IQ3_S")[0]
    points, signs = whole[2:66].reshape(8, 8), whole[74:106].reshape(8, 4)
    assert moved[2:66].tobytes() == np.delete(points, 2, axis=0).tobytes() + bytes(8)
    assert moved[74:106].tobytes() == np.delete(signs, 2, axis=0).tobytes() + bytes(4)
